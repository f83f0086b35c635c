"""A figure of your own: the accuracy that models lose to their worst perturbation, against eps.

A row of FIGURES in src/jacobian_ensembles/paper/catalogue.py adds it to the workflow, the page and shipped runs:

    Item(
        name="accuracy_lost",
        function="docs/examples/accuracy_lost.py:accuracy_lost",
        inputs=("metrics",),
        caption="Accuracy lost to the worst perturbation.",
    ),
"""

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure


def accuracy_lost(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """A line per dataset and ensemble method: the mean over its models, with their spread."""
    metrics = tables["metrics"]
    lost = metrics.assign(lost=100 * (metrics["clean_accuracy"] - metrics["worst_accuracy"]))
    fig, ax = plt.subplots(layout="constrained")
    sns.lineplot(lost, x="eps", y="lost", hue="ensemble", style="dataset", marker="o", ax=ax)
    ax.set(xlabel="ε", ylabel="Accuracy lost (points)")
    return fig
