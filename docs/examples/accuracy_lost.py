"""A figure of your own. In a configuration: ``figures: {own: [docs/examples/accuracy_lost.py:accuracy_lost]}``."""

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure


def accuracy_lost(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy lost to the worst perturbation: means over models with their spread."""
    metrics = tables["metrics"]
    lost = metrics.assign(lost=100 * (metrics["clean_accuracy"] - metrics["worst_accuracy"]))
    fig, ax = plt.subplots(layout="constrained")
    sns.lineplot(lost, x="eps", y="lost", hue="ensemble", style="dataset", marker="o", ax=ax)
    ax.set(xlabel="ε", ylabel="Accuracy lost (points)")
    return fig
