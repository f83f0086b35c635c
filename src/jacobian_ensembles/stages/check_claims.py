"""Stage check_claims: the paper's claims against a run."""

from __future__ import annotations

from dataclasses import astuple, fields
from pathlib import Path

import pandas as pd

from jacobian_ensembles.evaluation.summary import MODEL_KEYS, average_repetitions
from jacobian_ensembles.paper.claims import Claim, check_claims, norm_against_robustness
from jacobian_ensembles.paper.labels import DATASET_TITLES, run_note, to_markdown
from jacobian_ensembles.storage.files import write_text
from jacobian_ensembles.storage.tables import read_table


def write_claims(
    metrics_path: str | Path,
    summary_path: str | Path,
    jacobian_path: str | Path,
    csv_path: str | Path,
    markdown_path: str | Path,
    confidence: float,
    run: str,
    banner: str,
) -> None:
    """Write the claims report as CSV and Markdown.

    Args:
        metrics_path: ``metrics.csv``.
        summary_path: ``summary.csv``.
        jacobian_path: ``jacobian.csv``.
        csv_path: CSV to write.
        markdown_path: Markdown to write.
        confidence: Level of intervals over repetitions.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    metrics = average_repetitions(read_table(metrics_path), confidence)
    summary, raw = read_table(summary_path), read_table(jacobian_path)
    numeric = [c for c in raw.columns if c not in (*MODEL_KEYS, "repetition")]
    jacobian = raw.groupby(MODEL_KEYS, as_index=False)[numeric].mean()
    rows = check_claims(metrics, summary, jacobian)
    table = pd.DataFrame([astuple(row) for row in rows], columns=[f.name for f in fields(Claim)])
    write_text(csv_path, table.assign(run=run, banner=banner).to_csv(index=False))
    text = f"The paper's claims against this run. {run_note(summary, run, banner)}\n\n"
    text += to_markdown(table.rename(columns=str.capitalize))
    for row in norm_against_robustness(summary, jacobian).itertuples():
        text += (
            f"\n{DATASET_TITLES[row.dataset]}: rank correlation between mean ‖J_F‖² and mean UAP accuracy over "
            f"{row.models} models: {row.spearman:.2f}.\n"
        )
    write_text(markdown_path, text)
