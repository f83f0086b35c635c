"""A run's models beside the paper's Table 1, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from jacobian_ensembles.paper.labels import DATASET_TITLES, RenderedTable, markdown_note, model_name, to_markdown
from jacobian_ensembles.paper.published import paper_models, paper_table1
from jacobian_ensembles.paper.table1 import ACCURACIES


def compare_with_paper(summary: pd.DataFrame) -> pd.DataFrame:
    """Set our models beside the rows of the paper's Table 1, cell by cell.

    The paper's rows without an ensemble are compared with our M = 1 soft-voting model, which is a single
    network trained on the whole training set.

    Args:
        summary: ``summary.csv``.

    Returns:
        One row per row of the paper's table: its cell, the paper's numbers, ours with their intervals (see
        :func:`~jacobian_ensembles.evaluation.summary.summarize`) and the differences (all in %; missing where the
        run has no such model), and whether the paper's row adds up.
    """
    paper = paper_models()
    bounds = [f"{column.removesuffix('accuracy')}{end}" for column in ACCURACIES for end in ("low", "high")]
    ours = summary[["dataset", "ensemble", "members", "lambda", *ACCURACIES, *bounds]]
    ours = ours.astype({"lambda": float})  # whole numbers where a run has no others
    joined = paper.merge(ours, on=["dataset", "ensemble", "members", "lambda"], how="left", validate="1:1")
    pairs = zip(("clean", "avg_uap", "weighted"), ACCURACIES, strict=True)
    out = joined[["dataset", "group", "ensemble", "members", "lambda", "adds_up"]].copy()
    for paper_column, our_column in pairs:
        out[f"paper_{paper_column}"] = joined[paper_column]
        out[f"our_{paper_column}"] = (100 * joined[our_column]).round(2)
        for end in ("low", "high"):
            bound = joined[f"{our_column.removesuffix('accuracy')}{end}"]
            out[f"our_{paper_column}_{end}"] = (100 * bound).round(2)
        out[f"difference_{paper_column}"] = (100 * joined[our_column] - joined[paper_column]).round(2)
    return out


def comparison(tables: Mapping[str, pd.DataFrame], run: str, banner: str) -> RenderedTable:
    """The comparison with the paper's Table 1, for readers.

    Args:
        tables: ``summary``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    summary = tables["summary"]
    table = compare_with_paper(summary)
    shown = pd.DataFrame(
        {
            "Dataset": table["dataset"].map(DATASET_TITLES),
            "Model": [model_name(row) for row in table.to_dict("records")],
        }
    )
    for column, title in (("clean", "clean"), ("avg_uap", "avg. UAP"), ("weighted", "weighted")):
        shown[f"{title}: paper"] = table[f"paper_{column}"].map("{:.1f}".format)
        if column == "weighted":
            shown[f"{title}: paper"] += table["adds_up"].map({True: "", False: " †"})
        shown["ours"] = [
            "–" if pd.isna(value) else f"{value:.1f} [{low:.1f}, {high:.1f}]"
            for value, low, high in table[[f"our_{column}{end}" for end in ("", "_low", "_high")]].to_numpy()
        ]
        shown["difference"] = _signed(table[f"difference_{column}"], "{:+.1f}")
        shown = shown.rename(columns={"ours": f"{title}: ours", "difference": f"{title}: difference"})
    odd = paper_table1().query("not adds_up")
    notes = [
        f"† The paper's weighted accuracy is the mean of the two columns before it; here "
        f"({r.clean} + {r.avg_uap})/2 = {r.mean:.2f}, printed {r.weighted}."
        for r in odd.itertuples()
    ]
    text = (
        f"Our models beside the paper's Table 1 (in %). {markdown_note(summary, run, banner)}\n"
        "Rows without an ensemble are our M=1 voting models; – marks a model this run does not have. "
        "Avg. UAP is a mean over four eps (0.10 to 0.25) in the paper, and over this run's eps here. "
        "Intervals are over "
        f"{'training repetitions' if summary['repetitions'].min() > 1 else 'test images'}.\n\n"
    )
    markdown = text + to_markdown(shown) + "\n" + "\n".join(notes) + "\n"
    return RenderedTable(table, markdown, float_format=None)


def _signed(values: pd.Series, form: str) -> pd.Series:
    return values.map(lambda v: "–" if pd.isna(v) else form.format(v))
