"""Stage compare_with_paper: a run's models beside the paper's Table 1."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from jacobian_ensembles.paper.labels import DATASET_TITLES, run_note, short_number, to_markdown
from jacobian_ensembles.paper.published import paper_table1
from jacobian_ensembles.paper.table1 import compare_with_paper
from jacobian_ensembles.storage.files import write_text
from jacobian_ensembles.storage.tables import read_table


def write_comparison(
    summary_path: str | Path, csv_path: str | Path, markdown_path: str | Path, run: str, banner: str
) -> None:
    """Write the comparison with the paper's Table 1 as CSV and Markdown.

    Args:
        summary_path: ``summary.csv``.
        csv_path: CSV to write.
        markdown_path: Markdown to write.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    summary = read_table(summary_path)
    table = compare_with_paper(summary)
    write_text(csv_path, table.assign(run=run, banner=banner).to_csv(index=False))
    shown = pd.DataFrame(
        {
            "Dataset": table["dataset"].map(DATASET_TITLES),
            "Model": [
                f"{ensemble} M={members} λ={short_number(lam)}"
                for ensemble, members, lam in zip(table["ensemble"], table["members"], table["lambda"], strict=True)
            ],
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
        f"Our models beside the paper's Table 1 (in %). {run_note(summary, run, banner)}\n"
        "Rows without an ensemble are our M=1 voting models; – marks a model this run does not have. "
        "Avg. UAP is a mean over four eps (0.10 to 0.25) in the paper, and over this run's eps here. "
        "Intervals are over "
        f"{'training repetitions' if summary['repetitions'].min() > 1 else 'test images'}.\n\n"
    )
    write_text(markdown_path, text + to_markdown(shown) + "\n" + "\n".join(notes) + "\n")


def _signed(values: pd.Series, form: str) -> pd.Series:
    return values.map(lambda v: "–" if pd.isna(v) else form.format(v))
