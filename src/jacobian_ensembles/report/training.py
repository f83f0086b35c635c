"""How a run's learners were trained: loss and seconds of every epoch, from the provenance of their jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from jacobian_ensembles.extensions.references import short_name
from jacobian_ensembles.paper.labels import DATASET_TITLES, ENSEMBLES, in_order
from jacobian_ensembles.paper.markup import mathtext
from jacobian_ensembles.paper.style import drawing, is_outer, legend_above, panels, sample, shades
from jacobian_ensembles.report.work import duration

COLUMNS = ["dataset", "ensemble", "lambda", "epoch", "loss", "seconds"]


def training_curves(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A row per job and epoch.

    Args:
        records: Provenance records; those with a ``history`` count.

    Returns:
        :data:`COLUMNS`; ``loss`` is the mean over the epoch's steps of what was minimised, its regularisation included.
    """
    rows = [
        {"dataset": job["dataset"], "ensemble": short_name(job["ensemble"]), "lambda": float(job["lambda_jr"]), **epoch}
        for record in records
        for job in [record["settings"]]
        for epoch in record.get("history", ())
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@drawing()
def plot_training(curves: pd.DataFrame) -> Figure:
    """Loss against epoch, means over learners: a row per dataset, a column per ensemble method, a line per strength."""
    datasets, ensembles = in_order(curves["dataset"], DATASET_TITLES), in_order(curves["ensemble"], ENSEMBLES)
    strengths = sorted(curves["lambda"].unique())
    colours = dict(zip(strengths, shades(len(strengths)), strict=True))
    fig, axes = panels(datasets, ensembles, 1.6, sharey="row")
    for (dataset, ensemble), ax in axes.items():
        here = curves[(curves["dataset"] == dataset) & (curves["ensemble"] == ensemble)]
        for strength, of_it in here.groupby("lambda"):
            line = of_it.groupby("epoch")["loss"].mean()
            ax.plot(line.index, line, color=colours[strength])
        first, last = is_outer(ax)
        ax.set_title(mathtext(ensemble.capitalize()) if dataset == datasets[0] else "")
        ax.set_xlabel("Epoch" if last else "")
        ax.set_ylabel(f"{mathtext(DATASET_TITLES[dataset])}\nLoss" if first else "")
    legend_above(fig, {f"λ = {strength:g}": sample(colours[strength], linestyle="-") for strength in strengths})
    return fig


def seconds_per_epoch(curves: pd.DataFrame) -> str:
    """How long an epoch took, by strength: ``0.8 s at λ = 0, 1.9 s at λ = 0.1``."""
    medians = curves.groupby("lambda")["seconds"].median()
    return ", ".join(f"{duration(seconds)} at λ = {strength:g}" for strength, seconds in medians.items())
