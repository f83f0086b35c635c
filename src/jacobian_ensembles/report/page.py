"""One self-contained HTML page of a run: what ran, the tables and figures, the worst perturbations, the trade-off."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.paper.labels import GROUP_TITLES, model_name, short_number
from jacobian_ensembles.paper.table1 import select_table1
from jacobian_ensembles.storage.files import ArtifactError, read_json

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


def stages(records: Iterable[str | Path]) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Summarise provenance records.

    Args:
        records: Files of :func:`~jacobian_ensembles.experiment.provenance.provenance`.

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


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


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


def _script_json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value).replace("<", "\\u003c")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
