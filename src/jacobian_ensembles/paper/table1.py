"""Table 1: which models it shows, and how."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from jacobian_ensembles.paper.labels import (
    DATASET_TITLES,
    GROUP_TITLES,
    RenderedTable,
    in_order,
    markdown_note,
    percent,
    run_note,
    short_number,
    to_markdown,
)
from jacobian_ensembles.paper.markup import latex, latex_label

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


def _latex_rows(table: pd.DataFrame) -> list[str]:
    """Rows of the table as LaTeX, each accuracy with its interval where the table has one."""
    shown = _display(table).drop(columns="Dataset").map(latex)
    for column, title in ACCURACIES.items():
        ends = [f"{column.removesuffix('accuracy')}{end}" for end in ("low", "high")]
        if set(ends) <= set(table.columns):
            shown[title] += [
                rf" {{\tiny[{low}, {high}]}}" for low, high in table[ends].map(percent).map(latex).to_numpy()
            ]
    return [" & ".join(row) + r" \\" for row in shown.to_numpy()]


def table1_latex(table: pd.DataFrame, note: str, run: str = "", confidence: float = 0.95) -> str:
    """Table 1 as LaTeX.

    Args:
        table: The rows of :func:`select_table1`.
        note: Plain text for the caption: the run and what it rests on.
        run: The run's name, for the label.
        confidence: Level of the intervals.

    Returns:
        A ``table`` environment for a document that loads booktabs; any other character than ASCII is spelled as a
        command, so that pdflatex compiles it.
    """
    several = table["repetitions"].min() > 1
    told = f" In brackets: {confidence:.0%} intervals over {'trainings' if several else 'test images'}."
    caption = f"Weighted accuracy (in %).{told if 'clean_low' in table else ''} {note}"
    lines = [
        r"% Needs \usepackage{booktabs}.",
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{latex(caption)}}}",
        rf"\label{{{latex_label('table1', run)}}}",
        r"\begin{tabular}{@{}llrrrrr@{}}",
        r"\toprule",
    ]
    for i, (dataset, rows) in enumerate(table.groupby("dataset", sort=False)):
        title = latex(DATASET_TITLES[dataset])
        lines += [r"\midrule[\heavyrulewidth]"][: i > 0]
        lines += [
            rf"\multicolumn{{4}}{{@{{}}l}}{{Model}} & \multicolumn{{3}}{{c@{{}}}}{{{title} accuracy (\%)}} \\",
            r"\cmidrule(r){1-4}\cmidrule(l){5-7}",
            r"& Ensemble & Learners & $\lambda_{\mathrm{JR}}$ & Clean & Avg.\ UAP & Weighted \\",
        ]
        best = rows["group"] == "best"
        for part in filter(len, (rows[best], rows[~best])):
            lines += [r"\midrule", *_latex_rows(part)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def table1(tables: Mapping[str, pd.DataFrame], run: str, banner: str, confidence: float = 0.95) -> RenderedTable:
    """Table 1 of a run.

    Args:
        tables: ``summary``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        confidence: Level of the intervals.
    """
    summary = tables["summary"]
    table, note = select_table1(summary), run_note(summary, run, banner)
    markdown = (
        f"Table 1: weighted accuracy (in %). {markdown_note(summary, run, banner)}\n\n{to_markdown(_display(table))}"
    )
    return RenderedTable(table, markdown, table1_latex(table, note, run, confidence))
