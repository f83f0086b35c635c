"""Table 1: which models it shows, and how."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from jacobian_ensembles.paper.labels import (
    DATASET_TITLES,
    GROUP_TITLES,
    RenderedTable,
    in_order,
    percent,
    run_note,
    short_number,
    to_markdown,
)

ACCURACIES = {
    "clean_accuracy": "Clean",
    "mean_uap_accuracy": "Avg. UAP",
    "weighted_accuracy": "Weighted",
}


def select_table1(summary: pd.DataFrame) -> pd.DataFrame:
    """Choose the rows of Table 1 by the paper's rule.

    Per dataset: the three models with the highest weighted accuracy; then the best with Jacobian
    regularisation only (M = 1, lambda > 0), with an ensemble only (M > 1, lambda = 0), and with neither. A
    group without any model in the run has no row.

    Args:
        summary: The table of :func:`~jacobian_ensembles.evaluation.summary.summarize`.

    Returns:
        The chosen rows of ``summary``, with a leading column ``group``.
    """
    chosen = []
    for dataset in in_order(summary["dataset"], DATASET_TITLES):
        models = summary[summary["dataset"] == dataset]
        # a fixed order among equals
        models = models.sort_values(
            ["weighted_accuracy", "members", "lambda", "ensemble"], ascending=[False, True, True, True]
        )
        single, plain = models["members"] == 1, models["lambda"] == 0
        groups = {
            "best": models.head(3),
            "jr_only": models[single & ~plain].head(1),
            "ensemble_only": models[~single & plain].head(1),
            "standard": models[single & plain].head(1),
        }
        chosen += [rows.assign(group=group) for group, rows in groups.items() if len(rows)]
    table = pd.concat(chosen, ignore_index=True)
    return table[["group", *(c for c in table.columns if c != "group")]]


def _display(table: pd.DataFrame) -> pd.DataFrame:
    """The table as printed: names, lambda and percentages as text."""
    return pd.DataFrame(
        {
            "Dataset": table["dataset"].map(DATASET_TITLES),
            "Group": table["group"].map(GROUP_TITLES),
            "Ensemble": table["ensemble"].str.capitalize(),
            "Learners": table["members"].astype(str),
            "lambda": table["lambda"].map(short_number),
            **{title: table[column].map(percent) for column, title in ACCURACIES.items()},
        }
    )


def _latex_escape(text: str) -> str:
    special = {"\\": "\\textbackslash{}", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in text)


def table1_latex(table: pd.DataFrame, note: str) -> str:
    """Table 1 as LaTeX.

    Args:
        table: The rows of :func:`select_table1`.
        note: A line in the caption: the run and what it rests on.

    Returns:
        A ``table`` environment for a document that loads booktabs.
    """
    shown = _display(table)
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{Weighted accuracy (in \\%). {_latex_escape(note)}}}",
        "\\label{tab:weighted-accuracy}",
        "\\begin{tabular}{@{}llrrrrr@{}}",
        "\\toprule",
    ]
    for i, (dataset, rows) in enumerate(shown.groupby("Dataset", sort=False)):
        if i:
            lines.append("\\midrule[\\heavyrulewidth]")
        lines += [
            f"\\multicolumn{{4}}{{l}}{{Model}} & \\multicolumn{{3}}{{c}}{{{dataset} accuracy (\\%)}} \\\\",
            "\\cmidrule(r){1-4}\\cmidrule(l){5-7}",
            "& Ensemble & Learners & $\\lambda_{\\mathrm{JR}}$ & Clean & Avg.\\ UAP & Weighted \\\\",
            "\\midrule",
        ]
        ranked = rows["Group"] == ""
        lines += [" & ".join(row) + " \\\\" for row in rows[ranked].drop(columns="Dataset").to_numpy()]
        if ranked.any() and (~ranked).any():
            lines.append("\\midrule")
        lines += [" & ".join(row) + " \\\\" for row in rows[~ranked].drop(columns="Dataset").to_numpy()]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""]).replace("–", "--")


def table1(tables: Mapping[str, pd.DataFrame], run: str, banner: str) -> RenderedTable:
    """Table 1 of a run.

    Args:
        tables: ``summary``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    summary = tables["summary"]
    table, note = select_table1(summary), run_note(summary, run, banner)
    markdown = f"Table 1: weighted accuracy (in %). {note}\n\n{to_markdown(_display(table))}"
    return RenderedTable(table, markdown, table1_latex(table, note))
