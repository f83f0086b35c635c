"""One self-contained HTML page of a run: what ran, the tables and figures, the worst perturbations, the trade-off."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import plotly.express as px
import yaml
from plotly.offline import get_plotlyjs

from jacobian_ensembles.artifacts import ArtifactError, load_tensors, read_json, write_text
from jacobian_ensembles.config import ENSEMBLES, Config
from jacobian_ensembles.extensions import short_name
from jacobian_ensembles.gallery import accuracy_per_class, class_names, data_uri, gallery, load_worst_uap, model_key
from jacobian_ensembles.layout import number_token
from jacobian_ensembles.metrics import MODEL_KEYS, read_table
from jacobian_ensembles.records import load_clean
from jacobian_ensembles.sensitivity import model_name
from jacobian_ensembles.tables import (
    DATASET_TITLES,
    GROUP_TITLES,
    in_order,
    paper_table1,
    run_note,
    select_table1,
    short_number,
)

_SYMBOLS = ("circle", "diamond", "square", "cross", "x", "triangle-up", "star", "hexagon")
#: Each figure's caption, and what it shows for those who cannot see it, by the stem of its file.
CAPTIONS = {
    "figure1_clean_accuracy": (
        "Figure 1. Clean accuracy against λ.",
        "Line plots of clean test accuracy against the strength lambda of Jacobian "
        "regularisation: a row of panels per data set, a column per ensemble method, a line per number of learners M.",
    ),
    "figure2_robustness": (
        "Figure 2. Accuracy under the worst universal perturbation against λ.",
        "Line plots of test accuracy under the worst universal perturbation at one eps against "
        "lambda: a row of panels per data set, a column per ensemble method, a line per number of learners M.",
    ),
    "figure3_tradeoff": (
        "Figure 3. Clean accuracy against robustness, per ε.",
        "Scatter plots of clean accuracy (vertical) against accuracy under the worst universal "
        "perturbation (horizontal): a row of panels per data set, a column per eps, points labelled by lambda.",
    ),
    "theory": (
        "Theorem 3.1: how the norm of the Jacobian falls with M, measured.",
        "Measured expectation and variance of the squared Frobenius norm of the Jacobian against the number of "
        "learners M, beside the bounds of Theorem 3.1, for independent learners (dashed) and correlated ones (dotted).",
    ),
    "worst_of_k": (
        "The expected worst case of K attack seeds, against K.",
        "Line plots of how far the expected accuracy under the worst of K attack seeds falls below that under one, "
        "against K: a row of panels per data set, a column per eps, a grey line per model, a black one for their mean.",
    ),
    "ablation": (
        "Variants of the attack on the same models.",
        "Dot plots of the accuracy under every variant of the attack, a panel per model: the worst and the mean of "
        "the attack seeds, beside clean accuracy.",
    ),
    "budget": (
        "Variants of the attack, against ε.",
        "Line plots of the accuracy under the worst seed of every variant of the attack against eps, from clean "
        "accuracy at 0, a panel per model.",
    ),
}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


def stages(records: Iterable[str | Path]) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Summarise provenance records.

    Args:
        records: Files of :func:`~jacobian_ensembles.provenance.provenance`.

    Returns:
        Per rule, in the order met: jobs, total and longest wall time in seconds, threads and devices; and by name the
        distinct commits, versions and platforms behind the run, and when its first and last job finished.
    """
    rows: dict[str, dict[str, Any]] = {}
    facts: dict[str, set[str]] = {}
    finished = []
    for path in records:
        record = read_json(path)
        row = rows.setdefault(
            record["settings"]["rule"],
            {"rule": record["settings"]["rule"], "jobs": 0, "seconds": 0.0, "longest": 0.0, "devices": set()},
        )
        row["jobs"] += 1
        row["seconds"] += record["wall_seconds"]
        row["longest"] = max(row["longest"], record["wall_seconds"])
        row["devices"].add(f"{record['device']}, {record['threads']} thread{'s' if record['threads'] > 1 else ''}")
        finished.append(record["finished"])
        versions = {"jacobian-ensembles": record["package"], "Python": record["python"], **record["versions"]}
        facts.setdefault("Commit", set()).add(record["commit"] or "not in a git repository")
        facts.setdefault("Versions", set()).add(", ".join(f"{k} {v}" for k, v in versions.items() if v))
        facts.setdefault("Platform", set()).add(record["platform"])
    if finished:
        facts["First and last job finished"] = {min(finished), max(finished)}
    order = [{**row, "devices": sorted(row["devices"])} for row in rows.values()]
    return order, {name: sorted(values) for name, values in facts.items()}


def pareto_front(points: pd.DataFrame) -> pd.DataFrame:
    """The models that no other beats in both clean and mean UAP accuracy, from the most robust on."""
    ranked = points.sort_values(["mean_uap_accuracy", "clean_accuracy"], ascending=False)
    best_before = ranked["clean_accuracy"].cummax().shift(fill_value=-1.0)
    return ranked[ranked["clean_accuracy"] > best_before]


def _styles(values: Sequence[Any], styles: Sequence[str]) -> dict[str, str]:
    """A style per value, the same in every plot of the page."""
    return {str(value): styles[i % len(styles)] for i, value in enumerate(values)}


def _padded(values: pd.Series) -> list[float]:
    """An axis's range around values; not left to Plotly, which finds none around a single point."""
    margin = max(0.5, 0.08 * (values.max() - values.min()))
    return [values.min() - margin, values.max() + margin]


def _tradeoff(summary: pd.DataFrame, dataset: str) -> str:
    """The interactive plot of one dataset, as an HTML fragment that expects Plotly on the page."""
    models = summary[summary["dataset"] == dataset]
    shown = pd.DataFrame(
        {
            "Accuracy under worst UAP, mean over ε (%)": 100 * models["mean_uap_accuracy"],
            "Clean accuracy (%)": 100 * models["clean_accuracy"],
            "Ensemble": models["ensemble"],
            "M": models["members"].astype(str),
            "λ": models["lambda"],
            "Model": [model_name(row) for row in _records(models)],
        }
    )
    x, y = shown.columns[:2]
    fig = px.scatter(
        shown, x=x, y=y, color="Ensemble", symbol="M", hover_name="Model", template="plotly_white",
        hover_data={x: ":.1f", y: ":.1f", "Ensemble": False, "M": False, "λ": False},
        color_discrete_map=_styles(in_order(summary["ensemble"], ENSEMBLES), px.colors.qualitative.Safe),
        symbol_map=_styles(sorted(summary["members"].unique()), _SYMBOLS),
    )  # fmt: skip
    fig.update_traces(marker={"size": 9, "line": {"width": 0.5, "color": "white"}})
    front = pareto_front(models)
    fig.add_scatter(
        x=100 * front["mean_uap_accuracy"], y=100 * front["clean_accuracy"], mode="lines", name="Pareto front",
        line={"dash": "dot", "color": "gray", "shape": "vh"}, hoverinfo="skip",
    )  # fmt: skip
    fig.add_scatter(
        x=[], y=[], mode="markers", name="best at this weight", hoverinfo="skip",
        marker={"size": 18, "symbol": "circle-open", "color": "crimson", "line": {"width": 3}},
    )  # fmt: skip
    fig.update_layout(
        font_family="system-ui, sans-serif", height=440, margin={"l": 55, "r": 10, "t": 10, "b": 50},
        legend={"orientation": "h", "y": -0.22, "title": None},
        xaxis_range=_padded(shown[x]), yaxis_range=_padded(shown[y]),
    )  # fmt: skip
    fragment: str = fig.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"tradeoff-{dataset}",
        config={"responsive": True, "displayModeBar": False},
    )
    return fragment


def _chosen(summary: pd.DataFrame, dataset: str) -> list[dict[str, Any]]:
    """The models shown in detail: the first of each group of Table 1, without repeats."""
    rows = select_table1(summary[summary["dataset"] == dataset]).drop_duplicates("group").drop_duplicates(MODEL_KEYS)
    titles = {**GROUP_TITLES, "best": "Best"}
    return [{**row, "title": titles[row["group"]], "name": model_name(row)} for row in _records(rows)]


def _table(frame: pd.DataFrame) -> str:
    return frame.to_html(index=False, border=0, na_rep="–", justify="left", classes="plain")


def _table1(table: pd.DataFrame, columns: Mapping[str, str], factor: float) -> list[dict[str, Any]]:
    out = []
    for row in _records(table):
        values = [f"{factor * row[column]:.1f}" for column in columns]
        out.append({**row, "values": values, "lambda": short_number(float(row["lambda"]))})
    return out


def _claims(path: str | Path | None) -> list[dict[str, Any]] | None:
    if path is None:
        return None
    table = pd.read_csv(path).fillna("")
    missing = {"claim", "statement", "evidence", "test", "verdict"} - set(table.columns)
    if missing:
        raise ArtifactError(f"{path}: no column {', '.join(sorted(missing))}. Delete it to have it made again.")
    return _records(table)


def write_report(
    path: str | Path,
    *,
    run: str,
    banner: str,
    eps: float,
    clean_weight: float,
    config: Mapping[str, Any],
    summary: str | Path,
    comparison: str | Path,
    figures: Sequence[str | Path],
    clean: Sequence[str | Path],
    uaps: Sequence[str | Path],
    ensembles: Sequence[str | Path],
    datasets: Sequence[str | Path],
    provenance: Sequence[str | Path],
    claims: str | Path | None = None,
    theory: str | Path | None = None,
    architecture: str = "lenet",
    methods: Mapping[str, str] | None = None,
) -> None:
    """Write the report of a run: one HTML file that needs no network and no other file.

    Args:
        path: The file to write.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        eps: The eps of Figure 2, whose perturbations the gallery shows.
        clean_weight: Where the slider of the weight of clean accuracy starts, in [0, 1].
        config: The configuration, shown as it is.
        summary: ``summary.csv``.
        comparison: ``comparison.csv``.
        figures: The figures, as PNG, in the order of the page; :data:`CAPTIONS` knows those of the workflow.
        clean: Clean predictions of every model (one training of each).
        uaps: The worst perturbation at ``eps`` of every model.
        ensembles: Every model, in the same order.
        datasets: The stored datasets.
        provenance: The provenance records of the run's jobs.
        claims: ``claims.csv``: columns claim, statement, evidence, test, verdict. None where it was not computed.
        theory: The theory figure, as PNG. None where it was not drawn.
        architecture: See :func:`~jacobian_ensembles.ensembles.load_ensemble`.
        methods: References to ensemble methods that are not built in, by name.

    Raises:
        ArtifactError: If a file is damaged or of another kind.
    """
    table = read_table(summary)
    loaded = {model_key(uap): uap for uap in map(load_worst_uap, uaps)}
    nets = dict(zip(loaded, ensembles, strict=True))
    predictions = {model_key(load_clean(p)[2]): p for p in clean}
    stored = {Path(p).stem: p for p in datasets}
    known = methods or {}
    how = {
        name: {"architecture": architecture} | ({"method": known[name]} if name in known else {})
        for name in table["ensemble"].unique()
    }
    sections = []
    for dataset in in_order(table["dataset"], DATASET_TITLES):
        tensors, _ = load_tensors(stored[dataset], kind="dataset")
        images = tensors["test_images"].astype(np.float32) / 255
        images = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
        labels = tensors["test_labels"]
        names = class_names(dataset, int(tensors["train_labels"].max()) + 1)
        models = _chosen(table, dataset)
        ours = select_table1(table[table["dataset"] == dataset])
        theirs = paper_table1()
        theirs = theirs[theirs["dataset"] == dataset].rename(columns={"lambda_jr": "lambda", "learners": "members"})
        ranked = table[table["dataset"] == dataset]
        sections.append(
            {
                "id": dataset,
                "title": DATASET_TITLES[dataset],
                "ours": _table1(
                    ours, dict.fromkeys(("clean_accuracy", "mean_uap_accuracy", "weighted_accuracy"), ""), 100
                ),
                "paper": _table1(theirs, dict.fromkeys(("clean", "avg_uap", "weighted"), ""), 1),
                "tradeoff": _tradeoff(table, dataset),
                "models": [
                    {
                        "name": model_name(row),
                        "clean": round(100 * row["clean_accuracy"], 4),
                        "uap": round(100 * row["mean_uap_accuracy"], 4),
                    }
                    for row in _records(ranked)
                ],
                "gallery": gallery(dataset, models, loaded, nets, (images, labels), names, how),
                "classes": names,
                "per_class": [
                    row
                    for m in models
                    for row in accuracy_per_class(m, predictions[model_key(m)], loaded[model_key(m)])
                ],
            }
        )  # fmt: skip
    rows, facts = stages(provenance)
    shown = [*figures, *([theory] if theory else [])]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["time"] = _duration
    page = environment.from_string(files("jacobian_ensembles").joinpath("report.html.j2").read_text()).render(
        run=run,
        banner=banner,
        note=run_note(table, run, ""),
        eps=short_number(eps),
        clean_weight=clean_weight,
        config=yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True),
        seeds={
            "Base seed": config["seed"],
            "Attack seeds per model and ε": int(table["seeds"].min()),
            "Trainings per model": int(table["repetitions"].min()),
        },
        stages=rows,
        facts=facts,
        claims=_claims(claims),
        theory=theory is not None,
        groups={**GROUP_TITLES, "best": "Best three"},
        comparison=_table(pd.read_csv(comparison).drop(columns=["run", "banner"])),
        figures=[
            {
                "uri": data_uri(Path(p).read_bytes(), "image/png"),
                **dict(zip(("caption", "alt"), CAPTIONS.get(Path(p).stem, (Path(p).stem,) * 2), strict=True)),
            }
            for p in shown
        ],
        sections=sections,
        ranking=_script_json({s["id"]: s["models"] for s in sections}),
        plotly=get_plotlyjs(),
    )
    write_text(path, page)


def report_of_folder(folder: str | Path, path: str | Path, cfg: Config) -> None:
    """Write the report of a run's folder, from what is there.

    Args:
        folder: ``results/<run>``.
        path: The file to write.
        cfg: The run's configuration.

    Raises:
        ArtifactError: If the folder holds no finished run.
    """
    folder = Path(folder)
    tables, figures = folder / "tables", folder / "figures"
    claims, theory = tables / "claims.csv", figures / "theory.png"
    ensembles = sorted(folder.glob("ensembles/*/*/*/*/rep0/ensemble.safetensors"))
    cells = [ensemble.parent.relative_to(folder / "ensembles") for ensemble in ensembles]
    eps = f"eps{number_token(cfg.figures.eps)}"
    summary = folder / "metrics" / "summary.csv"
    if not ensembles or not summary.is_file():
        raise ArtifactError(f"{folder}: no finished run; there is no {summary.relative_to(folder)} or no ensemble.")
    write_report(
        path,
        run=cfg.run.name,
        banner=cfg.run.banner,
        eps=cfg.figures.eps,
        clean_weight=cfg.metrics.clean_weight,
        config=cfg.model_dump(by_alias=True),
        summary=summary,
        comparison=tables / "comparison.csv",
        figures=[f for name in CAPTIONS if name != "theory" and (f := figures / f"{name}.png").is_file()],
        clean=[folder / "clean" / cell / "clean.safetensors" for cell in cells],
        uaps=[folder / "worst" / cell / eps / "worst_uap.safetensors" for cell in cells],
        ensembles=ensembles,
        datasets=sorted((folder.parent / "data").glob("*.safetensors")),
        provenance=sorted(folder.rglob("*.provenance.json"), key=lambda p: Path(p).stat().st_mtime),
        claims=claims if claims.is_file() else None,
        theory=theory if theory.is_file() else None,
        architecture=cfg.model.architecture,
        methods={short_name(name): name for name in cfg.grid.ensembles if name != short_name(name)},
    )


def _script_json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value).replace("<", "\\u003c")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
