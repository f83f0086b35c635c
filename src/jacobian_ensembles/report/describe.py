"""A run's record described dataset by dataset, in the words and pictures that the page's template shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.paper.labels import DATASET_TITLES, GROUP_TITLES, in_order, model_name, short_number
from jacobian_ensembles.paper.published import paper_table1
from jacobian_ensembles.paper.table1 import select_table1
from jacobian_ensembles.report.contents import RunRecord, model_key
from jacobian_ensembles.report.gallery import accuracy_per_class, examples, thumbnail
from jacobian_ensembles.report.headline import defence
from jacobian_ensembles.report.tradeoff import tradeoff


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dictionaries by column name."""
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


def group_titles(record: RunRecord) -> dict[str, str]:
    """What the page calls the groups of Table 1."""
    paper = record.config.get("training", {}).get("objective", "jacobian") == "jacobian"
    return GROUP_TITLES if paper else {**GROUP_TITLES, "jr_only": f"{defence(record.config)} only"}


def shown_in_detail(
    summary: pd.DataFrame, dataset: str, titles: Mapping[str, str] = GROUP_TITLES
) -> list[dict[str, Any]]:
    """The models shown in detail: the first of each group of Table 1, without repeats."""
    rows = select_table1(summary[summary["dataset"] == dataset]).drop_duplicates("group").drop_duplicates(MODEL_KEYS)
    titles = {**titles, "best": "Best"}
    return [{**row, "title": titles[row["group"]], "name": model_name(row)} for row in rows_of(rows)]


def _table1(table: pd.DataFrame, columns: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of a Table 1, with each column times its factor, in percent."""
    out = []
    for row in rows_of(table):
        values = [f"{factor * row[column]:.1f}" for column, factor in columns.items()]
        out.append({**row, "values": values, "lambda": short_number(float(row["lambda"]))})
    return out


def _gallery(record: RunRecord, dataset: str, models: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """The worst perturbations of a dataset: with examples for the models shown in detail, as small pictures for all."""
    rows = []
    for model in models:
        key = model_key(model)
        if (uap := record.uaps.get(key)) is None:
            continue
        predicted = record.examples.get(key)
        seen = examples(record.test_sets[dataset], uap["delta"], predicted, names) if predicted else []
        rows.append({**model, **thumbnail(uap), "examples": seen})
    every = [{"name": model_name(uap), **thumbnail(uap)} for key, uap in record.uaps.items() if key[0] == dataset]
    return {"rows": rows, "every": every}


def section(record: RunRecord, dataset: str) -> dict[str, Any]:
    """What the page says about one dataset."""
    ranked = record.summary[record.summary["dataset"] == dataset]
    models = shown_in_detail(record.summary, dataset, group_titles(record))
    test_set = record.test_sets.get(dataset)
    names = [] if test_set is None else list(test_set.names)
    paper = paper_table1().rename(columns={"lambda_jr": "lambda", "learners": "members"})
    ours = dict.fromkeys(("clean_accuracy", "mean_uap_accuracy", "weighted_accuracy"), 100.0)
    return {
        "id": dataset,
        "title": DATASET_TITLES[dataset],
        "leaked": 0 if test_set is None else test_set.leaked,
        "tested": 0 if test_set is None else len(test_set.labels),
        "ours": _table1(select_table1(ranked), ours),
        "paper": _table1(paper[paper["dataset"] == dataset], dict.fromkeys(("clean", "avg_uap", "weighted"), 1.0)),
        "tradeoff": tradeoff(record.summary, dataset),
        "models": [
            {
                "name": model_name(row),
                "clean": round(100 * row["clean_accuracy"], 4),
                "uap": round(100 * row["mean_uap_accuracy"], 4),
            }
            for row in rows_of(ranked)
        ],
        "gallery": _gallery(record, dataset, models, names),
        "classes": names,
        "per_class": [
            row
            for m in models
            if model_key(m) in record.clean
            for row in accuracy_per_class(m["name"], record.clean[model_key(m)], record.uaps[model_key(m)]["correct"])
        ],
    }


def sections(record: RunRecord) -> list[dict[str, Any]]:
    """What the page says about each dataset, those of the paper first."""
    return [section(record, dataset) for dataset in in_order(record.summary["dataset"], DATASET_TITLES)]
