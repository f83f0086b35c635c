"""The plot of clean accuracy against robustness, as SVG inside the page."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
from matplotlib.ticker import MaxNLocator

from jacobian_ensembles.paper.labels import ENSEMBLES, in_order, method_colours, model_name

_WIDTH, _HEIGHT = 560, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 10, 10, 48  # margins, for the axes' numbers and names
#: Outlines of about ten units, for sizes of ensembles.
_SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z", "M0 -6L6 0L0 6L-6 0z", "M-4.5 -4.5h9v9h-9z", "M0 -6L6 5H-6z",
    "M-2 -6h4v4h4v4h-4v4h-4v-4h-4v-4h4z", "M0 6L6 -5H-6z",
)  # fmt: skip


def pareto_front(points: pd.DataFrame) -> pd.DataFrame:
    """The models that no other beats in both clean and mean UAP accuracy, the most robust first."""
    ranked = points.sort_values(["mean_uap_accuracy", "clean_accuracy"], ascending=False)
    best_before = ranked["clean_accuracy"].cummax().shift(fill_value=-1.0)
    return ranked[ranked["clean_accuracy"] > best_before]


def _styles(values: Sequence[Any], styles: Sequence[str]) -> dict[Any, str]:
    """A style per value, the same in every plot of the page."""
    return {value: styles[i % len(styles)] for i, value in enumerate(values)}


class _Axis:
    """Percentages on a line of pixels, with round numbers at its ticks."""

    def __init__(self, values: pd.Series, start: float, end: float):
        low, high = float(values.min()), float(values.max())
        margin = max(0.5, 0.06 * (high - low))
        self.low, self.high, self.start, self.end = low - margin, high + margin, start, end
        ticks = MaxNLocator(6).tick_values(self.low, self.high)
        self.ticks = [(f"{tick:g}", self(tick)) for tick in ticks if self.low <= tick <= self.high]

    def __call__(self, value: float) -> float:
        """The pixel of a percentage."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)


def tradeoff(summary: pd.DataFrame, dataset: str) -> str:
    """The plot of one dataset.

    Args:
        summary: A row per model, with clean and mean UAP accuracy in [0, 1].
        dataset: Its name.

    Returns:
        An ``svg`` element. Each model is a ``.point`` that names itself, at its coordinates on the page; the ``.ring``
        is for the script that marks the best one.
    """
    models = summary[summary["dataset"] == dataset]
    x = _Axis(100 * models["mean_uap_accuracy"], _LEFT, _WIDTH - _RIGHT)
    y = _Axis(100 * models["clean_accuracy"], _HEIGHT - _BOTTOM, _TOP)
    palette = method_colours(summary["ensemble"])
    colours = {name: palette[name] for name in in_order(summary["ensemble"], ENSEMBLES)}
    shapes = _styles(sorted(summary["members"].unique()), _SHAPES)
    points = [
        {
            "name": f"{model_name(row)}: clean {clean:.1f} %, under UAP {uap:.1f} %",
            "x": x(uap),
            "y": y(clean),
            "colour": colours[row["ensemble"]],
            "shape": shapes[row["members"]],
        }
        for row in models.to_dict("records")
        for clean, uap in [(100 * row["clean_accuracy"], 100 * row["mean_uap_accuracy"])]
    ]
    front = 100 * pareto_front(models)[["mean_uap_accuracy", "clean_accuracy"]].to_numpy()
    steps = [(x(uap), y(clean)) for uap, clean in front]
    line = f"M{steps[0][0]} {steps[0][1]}" + "".join(f"V{down}H{left}" for left, down in steps[1:]) if steps else ""
    template = files("jacobian_ensembles.report").joinpath("tradeoff.svg.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(template).render(
        id=dataset, width=_WIDTH, height=_HEIGHT, left=_LEFT, right=_WIDTH - _RIGHT, top=_TOP,
        bottom=_HEIGHT - _BOTTOM, x=x, y=y, points=points, front=line, colours=colours, shapes=shapes,
    )  # fmt: skip
