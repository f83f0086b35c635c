"""Put shipped tables and example files into the pages that quote them, so that none is copied by hand.

    python docs/fill.py

A page has ``<!-- table PATH -->`` or ``<!-- code PATH -->`` before such a piece and ``<!-- end -->`` after it; PATH is
a file of the repository. ``<!-- table PATH columns 0 2 rows 1 3 -->`` takes some columns and
rows of a Markdown table, ``<!-- table PATH part 2 -->`` the second table of a file with several.
``<!-- runs NAME,NAME -->`` sets shipped runs side by side: clean accuracy and mean accuracy under perturbation of every
model, in %, and the paper's; ``<!-- grid NAME,NAME -->`` has the same numbers with a column per lambda.
``<!-- origins NAME,NAME -->`` says what made the runs, ``<!-- theory NAME,NAME -->`` sets their Jacobians' moments
beside Theorem 3.1, ``<!-- models NAME -->`` lists the ensembles that a run keeps.
``<!-- compare NAME,NAME -->`` has the best strength of each run, and the difference to the first,
``<!-- gain NAME,NAME -->`` what ensembles add to each,
``<!-- take NAME,NAME -->`` the three most robust at each eps, of those that cost little clean accuracy.
``<!-- attacks NAME -->`` has the effects of the claims under every attack of a run's ablation.
``<!-- decorrelation NAME,NAME -->`` sets ensembles of learners trained together beside those of the first run.
``<!-- bibtex CITATION.cff -->`` has what that file names, as BibTeX. A test fails where a page is not up to date.
"""

import json
import math
import re
from pathlib import Path

import pandas as pd
import yaml

import jacobian_ensembles as je
from jacobian_ensembles.comparing.decorrelation import beside_learners_alone, jacobians_and_accuracy
from jacobian_ensembles.comparing.defence_display import best_table
from jacobian_ensembles.comparing.defences import best_of_each, compare, gain_of_members, strongest_at_each_eps
from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.paper.claims import effects_by_attack
from jacobian_ensembles.paper.labels import DATASET_TITLES, model_name, to_markdown
from jacobian_ensembles.paper.published import paper_models
from jacobian_ensembles.paper.theory import beside_the_theorem
from jacobian_ensembles.report.citing import bibtex
from jacobian_ensembles.runs.ship import short_commit
from jacobian_ensembles.stages.compare_runs import load_compared

_TOLERANCE = {"mnist": 0.01, "fashion_mnist": 0.03}  # clean accuracy below plain training's: docs/defences.md
_PLACES = ("most robust", "second", "third")
ROOT = Path(__file__).resolve().parents[1]
PIECE = re.compile(
    r"(<!-- (table|code|runs|grid|origins|theory|models|bibtex|compare|gain|take|decorrelation|attacks) (\S+)"
    r"(?: part (\d+))?(?: columns ([\d ]+?))?(?: rows ([\d ]+?))? -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)


def filled(text: str) -> str:
    """A page's text with every marked piece taken anew from its file."""

    def piece(match: re.Match[str]) -> str:
        opening, kind, path, part, columns, rows, closing = match.groups()
        if kind in _OF_RUNS:
            shown = _OF_RUNS[kind](path.split(","))
        elif kind == "bibtex":
            shown = f"```bibtex\n{_bibtex((ROOT / path).read_text(encoding='utf-8'))}\n```"
        elif kind == "code":
            language = {".py": "python"}.get(Path(path).suffix, "yaml")
            shown = f"```{language}\n{(ROOT / path).read_text(encoding='utf-8')}```"
        else:
            shown = _table((ROOT / path).read_text(encoding="utf-8"), columns, rows, int(part or 1))
        return f"{opening}\n{shown}\n\n{closing}"

    return PIECE.sub(piece, text)


def _summary(run: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "results" / "reference" / run / "metrics" / "summary.csv")


def _origins(runs: list[str]) -> str:
    rows = []
    for run in runs:
        made = json.loads((ROOT / "results" / "reference" / run / "provenance.json").read_text(encoding="utf-8"))
        summary = _summary(run)
        row = {
            "run": f"`{run}`",
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


def _side_by_side(runs: list[str]) -> str:
    columns = []
    for run in runs:
        summary = _summary(run).set_index(MODEL_KEYS)
        columns.append(pd.Series(_accuracies(summary), summary.index, name=run))
    table = pd.concat(columns, axis=1).sort_index(level="dataset", ascending=False, sort_remaining=False)
    paper = paper_models().set_index(MODEL_KEYS).reindex(table.index)
    table["*paper*"] = (paper["clean"].map(str) + " / " + paper["avg_uap"].map(str)).where(paper["clean"].notna())
    table = table.fillna("–")
    models = [f"{DATASET_TITLES[r['dataset']]}, {model_name(r)}" for r in table.index.to_frame().to_dict("records")]
    return to_markdown(table.reset_index(drop=True).assign(model=models)[["model", *runs, "*paper*"]]).rstrip()


def _grid(runs: list[str]) -> str:
    summary = pd.concat([_summary(run) for run in runs])
    lines = ["dataset", "ensemble", "members"]
    table = summary.assign(shown=_accuracies(summary))
    table = table.pivot_table(index=lines, columns="lambda", values="shown", aggfunc="first", fill_value="–")
    table = table.sort_index(level="dataset", ascending=False, sort_remaining=False)
    table.columns = [f"λ={value:.2f}" for value in table.columns]
    models = [f"{DATASET_TITLES[dataset]}, {ensemble} M={members}" for dataset, ensemble, members in table.index]
    return to_markdown(table.reset_index(drop=True).assign(model=models)[["model", *table.columns]]).rstrip()


def _theory(runs: list[str]) -> str:
    rows = []
    for run in runs:
        table = pd.read_csv(ROOT / "results" / "reference" / run / "metrics" / "jacobian.csv")
        kurtosis = table.groupby(MODEL_KEYS)["excess_kurtosis"].mean()
        models = beside_the_theorem(table).sort_values("dataset", ascending=False, kind="stable")
        for r in models.to_dict("records"):
            row = {"run": f"`{run}`", "model": f"{DATASET_TITLES[r['dataset']]}, {model_name(r)}"}
            for moment, symbol in (("mean", "E"), ("variance", "Var")):
                row[f"{symbol}: measured"] = f"{r[f'{moment}_ratio']:.3f}"
                row[f"{symbol}: theorem"] = f"{r[f'theorem_{moment}_ratio']:.3f}"
                row[f"{symbol}: correlated"] = f"{r[f'correlated_{moment}_ratio']:.3f}"
            row["(E: measured)²"] = f"{r['mean_ratio'] ** 2:.3f}"
            row["Var / upper bound"] = f"{r['ensemble_variance_over_bound']:,.0f}"
            row["correlation"] = f"{r['cosine']:.2f}"
            row["by norm"] = "–" if math.isnan(r["cosine_by_norm"]) else f"{r['cosine_by_norm']:.2f}"
            rows.append({**row, "excess kurtosis": f"{kurtosis[tuple(r[key] for key in MODEL_KEYS)]:,.0f}"})
    return to_markdown(pd.DataFrame(rows)).rstrip()


def _compare(runs: list[str]) -> str:
    compared = [load_compared(ROOT / "results" / "reference" / run) for run in runs]
    best = best_of_each(compared, compare(compared, 0.5, 0.95), 0.5, 0.95)
    return best_table(compared, best).markdown.rstrip()


def _gain(runs: list[str]) -> str:
    compared = [load_compared(ROOT / "results" / "reference" / run) for run in runs]
    found = gain_of_members(compared, compare(compared, 0.5, 0.95), 0.5, 0.95)
    rows = [
        {
            "dataset": DATASET_TITLES[r["dataset"]],
            "run": f"`{r['run']}`",
            f"M = {r['members']} minus M = 1": f"{100 * r['difference']:+.1f} "
            f"[{100 * r['difference_low']:+.1f}, {100 * r['difference_high']:+.1f}]",
            "every attack": f"{100 * r['every_attack_difference']:+.1f}",
            "verdict": r["verdict"],
        }
        for r in found.to_dict("records")
    ]
    return to_markdown(pd.DataFrame(rows)).rstrip()


def _take(runs: list[str]) -> str:
    compared = [load_compared(ROOT / "results" / "reference" / run) for run in runs]
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


def _decorrelation(runs: list[str]) -> str:
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


def _attacks(runs: list[str]) -> str:
    (run,) = runs
    folder = ROOT / "results" / "reference" / run / "metrics"
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in ("metrics", "jacobian", "ablation")}
    found = effects_by_attack(tables, 0.5, 0.95)
    rows = []
    for claims in zip(*found.values(), strict=True):
        for effects in zip(*(claim.effects for claim in claims), strict=True):
            means = [effect.mean for effect in effects]
            if len(set(means)) > 1 and not any(map(math.isnan, means)):
                row = {"claim": claims[0].row.claim, "effect": effects[0].part, "needed": f"{effects[0].needed:+g}"}
                rows.append(row | {name: f"{mean:+.1f}" for name, mean in zip(found, means, strict=True)})
    return to_markdown(pd.DataFrame(rows)).rstrip()


def _measured(run: str) -> pd.DataFrame:
    return jacobians_and_accuracy(
        pd.read_csv(ROOT / "results" / "reference" / run / "metrics" / "jacobian.csv"), _summary(run)
    )


def _models(runs: list[str]) -> str:
    rows = []
    for name in (name for name in je.shipped_models() if name.split("/")[0] in runs):
        run, dataset, ensemble, members, strength, *_ = name.split("/")
        metrics = pd.read_csv(ROOT / "results" / "reference" / run / "metrics" / "metrics.csv")
        cell = {"dataset": dataset, "ensemble": ensemble, "members": int(members[1:]), "lambda": float(strength[6:])}
        own = metrics[(metrics[[*cell]] == pd.Series(cell)).all(axis=1)].sort_values("eps")
        under = {f"ε={eps:.2f}": f"{100 * je.load_correct(name, eps).mean():.2f}" for eps in own["eps"]}
        size = f"{je.stored_file(name).stat().st_size / 1e6:.2f}"
        clean = f"{100 * je.load_correct(name).mean():.2f}"
        rows.append({"name": name, "MB": size, "clean": clean, **under})
    return to_markdown(pd.DataFrame(rows)).rstrip()


_OF_RUNS = {
    "runs": _side_by_side,
    "grid": _grid,
    "origins": _origins,
    "theory": _theory,
    "models": _models,
    "compare": _compare,
    "gain": _gain,
    "take": _take,
    "decorrelation": _decorrelation,
    "attacks": _attacks,
}


def _table(content: str, columns: str | None, chosen: str | None, part: int = 1) -> str:
    tables = re.findall(r"^\|.*(?:\n\|.*)*", content, re.MULTILINE)
    rows = tables[part - 1].splitlines()
    if chosen:
        rows = [*rows[:2], *(rows[2 + int(i)] for i in chosen.split())]
    if columns:
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
        rows = [f"| {' | '.join(row[int(i)] for i in columns.split())} |" for row in cells]
    return "\n".join(rows)


def _bibtex(citation: str) -> str:
    """This software, and every reference of a CITATION.cff."""
    cff = yaml.safe_load(citation)
    own = {key: cff[key] for key in ("type", "title", "authors", "version")} | {"year": str(cff["date-released"])[:4]}
    return "\n\n".join(map(bibtex, [own, *cff["references"]]))


def pages() -> list[Path]:
    """The pages that may quote tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


if __name__ == "__main__":
    for page in pages():
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
