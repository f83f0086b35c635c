"""The tables that pages make from shipped runs: docs/fill.py says of each what it shows.

A table is a function of the runs' folders, and returns Markdown.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as t_distribution
from scipy.stats import ttest_ind_from_stats

import jacobian_ensembles as je
from jacobian_ensembles.comparing.decorrelation import beside_learners_alone, jacobians_and_accuracy
from jacobian_ensembles.comparing.defences import best_of_each, compare, gain_of_members, strongest_at_each_eps
from jacobian_ensembles.evaluation.statistics import holm
from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.paper.claim_rules import RULES
from jacobian_ensembles.paper.claims import effects_by_attack, parts_needed
from jacobian_ensembles.paper.effects import PRIMARY, with_interval
from jacobian_ensembles.paper.labels import DATASET_TITLES, model_name
from jacobian_ensembles.paper.labels import markdown_table as to_markdown
from jacobian_ensembles.paper.published import paper_models
from jacobian_ensembles.runs.provenance import short_commit
from jacobian_ensembles.runs.run import Run
from jacobian_ensembles.stages.compare_runs import load_compared

_TOLERANCE = {"mnist": 0.01, "fashion_mnist": 0.03}  # clean accuracy below plain training's: docs/defences.md
_PLACES = ("most robust", "second", "third")
#: The analyses whose effects are set side by side under every attack: a single training has no other.
_UNDER_ATTACKS = {"primary": "", "single network": ", over M = 1"}
_UNDER_ATTACKS |= {"best of all trainings, measured in the same": ""}


def _origins(runs: list[Path]) -> str:
    rows = []
    for run in runs:
        made = Run.open(run).made
        summary = Run.open(run).table("summary")
        row = {
            "run": f"`{run.name}`",
            "models": len(summary),
            "trainings of each": summary["repetitions"].max(),
            "attack seeds": summary["seeds"].max(),
            "jobs": sum(made["jobs"].values()),
            "core-hours": f"{sum(made['hours'].values()):.1f}",
            "commits": ", ".join(f"`{short_commit(commit, 7)}`" for commit in made["commit"]),
            "finished": made["last_finished"][:10],
        }
        rows.append(row)
    return to_markdown(pd.DataFrame(rows)).rstrip()


def _accuracies(summary: pd.DataFrame) -> list[str]:
    """Clean accuracy / mean accuracy under perturbation of every model, in %."""
    both = zip(summary["clean_accuracy"], summary["mean_uap_accuracy"], strict=True)
    return [f"{100 * clean:.1f} / {100 * uap:.1f}" for clean, uap in both]


def _side_by_side(runs: list[Path]) -> str:
    columns = []
    for run in runs:
        summary = Run.open(run).table("summary").set_index(MODEL_KEYS)
        columns.append(pd.Series(_accuracies(summary), summary.index, name=run.name))
    table = pd.concat(columns, axis=1).sort_index(level="dataset", ascending=False, sort_remaining=False)
    paper = paper_models().set_index(MODEL_KEYS).reindex(table.index)
    table["*paper*"] = (paper["clean"].map(str) + " / " + paper["avg_uap"].map(str)).where(paper["clean"].notna())
    table = table.fillna("–")
    models = [f"{DATASET_TITLES[r['dataset']]}, {model_name(r)}" for r in table.index.to_frame().to_dict("records")]
    return to_markdown(
        table.reset_index(drop=True).assign(model=models)[["model", *(run.name for run in runs), "*paper*"]]
    ).rstrip()


def _key(runs: list[Path]) -> str:
    """Four voting models of each dataset: alone and of nine, without and with the paper's lambda for the dataset."""
    (run,) = runs
    strength = {"mnist": 0.05, "fashion_mnist": 0.1}  # of the paper's best single network in Table 1
    summary = Run.open(run).table("summary").query("ensemble == 'voting' and members in [1, 9]")
    rows = []
    for row in summary.sort_values(["dataset", "lambda", "members"], ascending=[False, True, True]).to_dict("records"):
        if row["lambda"] in (0, strength[row["dataset"]]):
            half = float(t_distribution.ppf(0.975, row["repetitions"] - 1)) / math.sqrt(row["repetitions"])
            cells = {
                title: f"{100 * mean:.1f} [{100 * max(0, mean - half * sd):.1f}, {100 * min(1, mean + half * sd):.1f}]"
                for title, mean, sd in (
                    ("clean", row["clean_accuracy"], row["clean_sd"]),
                    ("under attack", row["mean_uap_accuracy"], row["mean_uap_sd"]),
                )
            }
            networks = "one network" if row["members"] == 1 else "nine, averaged"
            first = {"dataset": DATASET_TITLES[row["dataset"]], "networks": networks, "lambda": f"{row['lambda']:g}"}
            rows.append(first | cells)
    return to_markdown(pd.DataFrame(rows)).rstrip()


def _grid(runs: list[Path]) -> str:
    summary = pd.concat([Run.open(run).table("summary") for run in runs])
    lines = ["dataset", "ensemble", "members"]
    table = summary.assign(shown=_accuracies(summary))
    table = table.pivot_table(index=lines, columns="lambda", values="shown", aggfunc="first", fill_value="–")
    table = table.sort_index(level="dataset", ascending=False, sort_remaining=False)
    table.columns = [f"λ={value:.2f}" for value in table.columns]
    models = [f"{DATASET_TITLES[dataset]}, {ensemble} M={members}" for dataset, ensemble, members in table.index]
    return to_markdown(table.reset_index(drop=True).assign(model=models)[["model", *table.columns]]).rstrip()


def _claims(runs: list[Path]) -> str:
    (run,) = runs
    opened = Run.open(run)
    claims, effects = opened.written("claims"), opened.written("effects")
    primary = effects[(effects["analysis"] == PRIMARY) & effects["value"].notna()]
    most = {rule.claim: rule.most for rule in RULES}
    rows = []
    for claim in claims.to_dict("records"):
        parts = primary[primary["claim"] == claim["claim"]].to_dict("records")
        rows.append(
            {
                "": claim["claim"],
                "claim": claim["statement"],
                "verdict": claim["verdict"],
                "decided by": "not measured",
                "needed": "–",
                "in the paper": re.split("[,;]", claim["place"])[0],
            }
        )
        if parts:
            effect = _deciding(parts, most[claim["claim"]])
            numbers = with_interval(*(effect[name] for name in ("value", "low", "high", "needed")))
            unit = " %" if effect["unit"] == "%" else ""
            models = f" ({effect['models']})" if isinstance(effect["models"], str) else ""
            rows[-1] |= {"decided by": f"{effect['part']}{models}: {numbers}{unit}", "needed": f"{effect['needed']:+g}"}
    return to_markdown(pd.DataFrame(rows)).rstrip()


def _deciding(effects: list[dict], most: bool) -> dict:
    """Of the parts that a claim needs, the one with the least to spare: of all its parts, or of more than half."""
    best_first = sorted(effects, key=lambda e: (e["value"] - e["needed"]) / abs(e["needed"]), reverse=True)
    return best_first[parts_needed(len(effects), most) - 1]


def _defences(runs: list[Path]) -> str:
    """Equal epochs beside equal time; a star where a difference survives Holm's correction over the whole table."""
    first, *others = runs
    at_once, timed = (
        _best([first, *(r for r in others if ("-equal_time-" in r.name) == again)]) for again in (False, True)
    )
    found = pd.concat({False: at_once, True: timed[timed["run"] != first.name]}, names=["again"])
    base = at_once[at_once["run"] == first.name].set_index(["dataset", "members"])["weighted_sd"]
    deviation = [base[key] for key in zip(found["dataset"], found["members"], strict=True)]
    ours = (found[column].to_numpy() for column in ("difference", "weighted_sd", "repetitions"))
    tests = ttest_ind_from_stats(*ours, 0, deviation, found["repetitions"].to_numpy(), equal_var=False)
    found["kept"] = np.array(holm(list(tests.pvalue))) < 0.05
    found["name"] = [run.removeprefix("defences-").removeprefix("equal_time-") for run in found["run"]]
    rows = []
    for (dataset, members, name), both in found.groupby(["dataset", "members", "name"], sort=False):
        r = both.iloc[0]
        row = {
            "dataset": DATASET_TITLES[str(dataset)],
            "M": members,
            "trained with": name,
            "strength": f"{r['lambda']:g}",
        }
        shown = {"clean": "clean", "mean_uap": "under attack", "every_attack": "every attack"}
        row |= {title: f"{100 * r[f'{column}_accuracy']:.1f}" for column, title in shown.items()}
        only_timed = both.index[0][0]
        row["time"] = "–" if only_timed else f"{r['cost']:.1f}×"
        differences = {again: _difference(d) for (again, _), d in both.iterrows()}
        rows.append(row | {"equal epochs": differences.get(False, "–"), "equal time": differences.get(True, "–")})
    table = pd.DataFrame(rows).sort_values(["dataset", "M"], ascending=[False, True], kind="stable")
    return to_markdown(table.reset_index(drop=True)).rstrip()


def _gains(runs: list[Path]) -> str:
    """Mean accuracy under attack of M > 1 less that of a single network, and how that depends on eps and lambda."""
    (run,) = runs
    keys = ["dataset", "ensemble", "lambda", "repetition"]
    wide = Run.open(run).table("metrics").pivot_table("worst_accuracy", [*keys, "eps"], "members")
    gain = wide.drop(columns=1).mean(axis=1) - wide[1]
    singles = {
        f"one network, {e} epochs": wide[1].xs(m, level="ensemble") for m, e in (("voting", 8), ("snapshot", 18))
    }
    rows = []
    for dataset, method in sorted({key[:2] for key in gain.index}, key=lambda key: (key[0] != "mnist", key[1])):
        own = gain[dataset, method]
        ensembles = wide.drop(columns=1).mean(axis=1).xs(method, level="ensemble")
        against = {title: (ensembles - single)[dataset] for title, single in singles.items()}
        row = {"dataset": DATASET_TITLES[dataset], "ensembles": method}
        for title, values in {"its own M = 1": own, **against}.items():
            each = 100 * values.groupby("repetition").mean()
            row[f"over {title}"] = f"{each.mean():+.1f} ({each.min():+.1f} to {each.max():+.1f})"
        by_eps = own.groupby([own.index.get_level_values("lambda") > 0, "eps"]).mean()
        rows.append(
            row | {f"ε={eps:.2f}": f"{100 * value:+.1f}" for eps, value in (by_eps[True] - by_eps[False]).items()}
        )
    return to_markdown(pd.DataFrame(rows)).rstrip()


def _best(runs: list[Path]) -> pd.DataFrame:
    compared = [load_compared(run) for run in runs]
    return best_of_each(compared, compare(compared, 0.5, 0.95), 0.5, 0.95)


def _difference(row: pd.Series) -> str:
    if math.isnan(row["difference"]):
        return "–"
    low, high = 100 * row["difference_low"], 100 * row["difference_high"]
    verdict = "" if row["verdict"] == "no difference found" else f", {row['verdict']}{'*' * bool(row['kept'])}"
    return f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]{verdict}"


def _gain(runs: list[Path]) -> str:
    compared = [load_compared(run) for run in runs]
    found = gain_of_members(compared, compare(compared, 0.5, 0.95), 0.5, 0.95)
    rows = [
        {
            "dataset": DATASET_TITLES[r["dataset"]],
            "run": f"`{r['run']}`",
            f"M = {r['members']} less M = 1": f"{100 * r['difference']:+.1f} "
            f"[{100 * r['difference_low']:+.1f}, {100 * r['difference_high']:+.1f}]",
            "every attack": f"{100 * r['every_attack_difference']:+.1f}",
            "verdict": r["verdict"],
        }
        for r in found.to_dict("records")
    ]
    return to_markdown(pd.DataFrame(rows)).rstrip()


def _take(runs: list[Path]) -> str:
    compared = [load_compared(run) for run in runs]
    found = strongest_at_each_eps(compared, _TOLERANCE, 0.95)
    rows = []
    for (dataset, members, eps), ranked in found.groupby(["dataset", "members", "eps"], sort=False):
        row = {"dataset": DATASET_TITLES[str(dataset)], "M": members, "ε": f"{eps:.2f}"}
        for r in ranked[ranked["place"] <= 3].to_dict("records"):
            shown = f"{r['run'].removeprefix('defences-')} {r['lambda']:g}"
            row[_PLACES[r["place"] - 1]] = (
                f"{shown}: {100 * r['worst_accuracy']:.1f}, clean {100 * r['clean_accuracy']:.1f}"
            )
        rows.append(row)
    rows.sort(key=lambda row: (row["dataset"] != "MNIST", row["M"], row["ε"]))
    return to_markdown(pd.DataFrame(rows).fillna("–")).rstrip()


def _certified(runs: list[Path]) -> str:
    """Per model: clean accuracy, and at each eps the certified accuracy, and that under attack."""
    rows = []
    for run in runs:
        metrics = Run.open(run).table("metrics")
        for (dataset, strength, members), here in metrics.groupby(["dataset", "lambda", "members"]):
            name = run.name.rpartition("-")[2] if strength else "plain"
            row = {"dataset": DATASET_TITLES[str(dataset)], "trained with": name, "strength": f"{strength:g}"}
            row["M"] = members
            row["clean"] = f"{100 * here['clean_accuracy'].mean():.1f}"
            for eps, at in here.groupby("eps"):
                proved, left = (100 * at[column].mean() for column in ("certified_accuracy", "worst_accuracy"))
                row[f"ε={eps:.2f}"] = f"{proved:.1f} to {left:.1f}"
            width = 100 * (here["worst_accuracy"] - here["certified_accuracy"]).mean()
            rows.append(row | {"mean width": f"{width:.1f}"})
    table = pd.DataFrame(rows).sort_values("dataset", ascending=False, kind="stable")
    return to_markdown(table.reset_index(drop=True)).rstrip()


def _decorrelation(runs: list[Path]) -> str:
    alone, *others = map(_measured, runs)
    joined = [
        beside_learners_alone(alone, other).sort_index(level="dataset", ascending=False, sort_remaining=False)
        for other in others
    ]
    shown = {"mean cosine": ("cosine", 1, 2), "E‖J_F‖² over a learner's": ("mean_ratio", 1, 2)}
    shown |= {"E‖J_F‖²": ("ensemble_mean", 1, 2), "clean": ("clean_accuracy", 100, 1)}
    shown |= {"under attack": ("mean_uap_accuracy", 100, 1)}
    rows = []
    for model, first in joined[0].iterrows():
        found = [table.loc[model] for table in joined]
        row = {"dataset": DATASET_TITLES[model[0]], "λ": f"{model[MODEL_KEYS.index('lambda')]:g}"}
        for title, (column, scale, digits) in shown.items():
            values = [first[f"{column}_alone"], *(table[column] for table in found)]
            row[title] = ", ".join(f"{scale * value:.{digits}f}" for value in values)
        rows.append({**row, "works": ", ".join("yes" if table["works"] else "no" for table in found)})
    return to_markdown(pd.DataFrame(rows)).rstrip()


def _attacks(runs: list[Path]) -> str:
    (run,) = runs
    tables = {name: Run.open(run).table(name) for name in ("metrics", "jacobian", "ablation")}
    found = {
        name: {(rule.claim, e.analysis, e.part): e for rule, e in rows if not math.isnan(e.value)}
        for name, rows in effects_by_attack(tables, 0.5, 0.95).items()
    }
    rows = []
    for claim, analysis, part in next(iter(found.values())):
        if analysis not in _UNDER_ATTACKS:
            continue
        effects = [effects[claim, analysis, part] for effects in found.values()]
        values = [effect.value for effect in effects]
        if max(values) - min(values) >= 1:
            row = {"claim": claim, "effect": f"{part}{_UNDER_ATTACKS[analysis]}", "needed": f"{effects[0].needed:+g}"}
            rows.append(row | {name: f"{value:+.1f}" for name, value in zip(found, values, strict=True)})
    return to_markdown(pd.DataFrame(rows)).rstrip()


def _measured(run: Path) -> pd.DataFrame:
    return jacobians_and_accuracy(Run.open(run).table("jacobian"), Run.open(run).table("summary"))


def _models(runs: list[Path]) -> str:
    rows = []
    metrics_of = {run.name: Run.open(run).table("metrics") for run in runs}
    for name in (name for name in je.shipped_models() if name.split("/")[0] in metrics_of):
        run, dataset, ensemble, members, strength, *_ = name.split("/")
        metrics = metrics_of[run]
        cell = {"dataset": dataset, "ensemble": ensemble, "members": int(members[1:]), "lambda": float(strength[6:])}
        own = metrics[(metrics[[*cell]] == pd.Series(cell)).all(axis=1)].sort_values("eps")
        under = {f"ε={eps:.2f}": f"{100 * je.load_correct(name, eps).mean():.2f}" for eps in own["eps"]}
        size = f"{je.stored_file(name).stat().st_size / 1e6:.2f}"
        clean = f"{100 * je.load_correct(name).mean():.2f}"
        rows.append({"name": name, "MB": size, "clean": clean, **under})
    return to_markdown(pd.DataFrame(rows)).rstrip()


_SUMMARY = ["metrics/summary.csv"]
#: What makes a table from runs, and the files that it reads.
TABLES: dict[str, tuple[Callable[[list[Path]], str], list[str]]] = {
    "claims": (_claims, ["tables/claims.csv", "tables/effects.csv"]),
    "attacks": (_attacks, ["metrics/ablation.csv"]),
    "gains": (_gains, ["metrics/metrics.csv"]),
    "grid": (_grid, _SUMMARY),
    "key": (_key, _SUMMARY),
    "runs": (_side_by_side, _SUMMARY),
    "origins": (_origins, ["provenance.json"]),
    "models": (_models, ["models/", "bits/"]),
    "defences": (_defences, ["metrics/records.csv"]),
    "gain": (_gain, ["metrics/records.csv"]),
    "take": (_take, ["metrics/records.csv"]),
    "certified": (_certified, ["metrics/metrics.csv"]),
    "decorrelation": (_decorrelation, ["metrics/jacobian.csv", "metrics/summary.csv"]),
}
