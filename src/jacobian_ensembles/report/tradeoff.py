"""The interactive plot of clean accuracy against robustness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.express as px

from jacobian_ensembles.paper.labels import ENSEMBLES, in_order, model_name

_SYMBOLS = ("circle", "diamond", "square", "cross", "x", "triangle-up", "star", "hexagon")


def pareto_front(points: pd.DataFrame) -> pd.DataFrame:
    """The models that no other beats in both clean and mean UAP accuracy, the most robust first."""
    ranked = points.sort_values(["mean_uap_accuracy", "clean_accuracy"], ascending=False)
    best_before = ranked["clean_accuracy"].cummax().shift(fill_value=-1.0)
    return ranked[ranked["clean_accuracy"] > best_before]


def _styles(values: Sequence[Any], styles: Sequence[str]) -> dict[str, str]:
    """A style per value, the same in every plot of the page."""
    return {str(value): styles[i % len(styles)] for i, value in enumerate(values)}


def _padded(values: pd.Series) -> list[float]:
    """An axis's range around values; not left to Plotly, which finds none around a single point."""
    margin = max(0.5, 0.08 * (values.max() - values.min()))
    return [values.min() - margin, values.max() + margin]


def tradeoff(summary: pd.DataFrame, dataset: str) -> str:
    """The interactive plot of one dataset, as an HTML fragment that expects Plotly on the page."""
    models = summary[summary["dataset"] == dataset]
    shown = pd.DataFrame(
        {
            "Accuracy under worst UAP, mean over ε (%)": 100 * models["mean_uap_accuracy"],
            "Clean accuracy (%)": 100 * models["clean_accuracy"],
            "Ensemble": models["ensemble"],
            "M": models["members"].astype(str),
            "λ": models["lambda"],
            "Model": [model_name(row) for row in models.to_dict("records")],
        }
    )
    x, y = shown.columns[:2]
    fig = px.scatter(
        shown, x=x, y=y, color="Ensemble", symbol="M", hover_name="Model", template="plotly_white",
        hover_data={x: ":.1f", y: ":.1f", "Ensemble": False, "M": False, "λ": False},
        color_discrete_map=_styles(in_order(summary["ensemble"], ENSEMBLES), px.colors.qualitative.Safe),
        symbol_map=_styles(sorted(summary["members"].unique()), _SYMBOLS),
    )  # fmt: skip
    fig.update_traces(marker={"size": 9, "line": {"width": 0.5, "color": "white"}})
    front = pareto_front(models)
    fig.add_scatter(
        x=100 * front["mean_uap_accuracy"], y=100 * front["clean_accuracy"], mode="lines", name="Pareto front",
        line={"dash": "dot", "color": "gray", "shape": "vh"}, hoverinfo="skip",
    )  # fmt: skip
    fig.add_scatter(
        x=[], y=[], mode="markers", name="best at this weight", hoverinfo="skip",
        marker={"size": 18, "symbol": "circle-open", "color": "crimson", "line": {"width": 3}},
    )  # fmt: skip
    fig.update_layout(
        font_family="system-ui, sans-serif", height=440, margin={"l": 55, "r": 10, "t": 10, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",  # the page's own, light or dark
        legend={"orientation": "h", "y": -0.22, "title": None},
        xaxis_range=_padded(shown[x]), yaxis_range=_padded(shown[y]),
    )  # fmt: skip
    fragment: str = fig.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=f"tradeoff-{dataset}",
        config={"responsive": True, "displayModeBar": False},
    )
    return fragment
