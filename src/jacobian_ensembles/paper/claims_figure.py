"""The figure of the claims: every effect with its interval beside the size it needs, a panel per claim."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from jacobian_ensembles.paper.claims import FAILS, HOLDS, OPEN, REVERSED
from jacobian_ensembles.paper.effects import PRIMARY
from jacobian_ensembles.paper.markup import mathtext
from jacobian_ensembles.paper.style import PAGE, drawing

_COLOURS = {HOLDS: "#0173b2", FAILS: "#d55e00", REVERSED: "#cc78bc", OPEN: "0.45"}


def _draw(ax: Axes, effects: pd.DataFrame, colour: str) -> None:
    """One claim: a row per effect, from top to bottom; an arrow for one above 12 times the largest size needed."""
    edge = 12 * (effects["needed"].abs().max() if len(effects) else 1.0)
    for y, effect in enumerate(effects.to_dict("records")):
        value, needed = effect["value"], effect["needed"]
        ax.plot([needed] * 2, [y - 0.42, y + 0.42], color="0.15", linewidth=1.1, linestyle=(0, (2, 1)))
        if abs(value) > edge:
            right, end = value > 0, math.copysign(edge, value)
            ax.plot(end, y, ">" if right else "<", color=colour, markersize=4.5)
            ax.annotate(
                f"{value:+.0f}", (end, y), xytext=(-6 if right else 6, 0), textcoords="offset points",
                ha="right" if right else "left", va="center", fontsize=7, color=colour,
            )  # fmt: skip
            continue
        known = math.isfinite(effect["low"]) and math.isfinite(effect["high"])
        if known:
            ends = [min(max(effect[side], -edge), edge) for side in ("low", "high")]
            ax.plot(ends, [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
        # hollow without an interval: a single value
        ax.plot(value, y, "o", color=colour, markersize=4.5, markerfacecolor=colour if known else "white")
    ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(effects)), [mathtext(part) for part in effects["part"]], fontsize=7)
    ax.set_ylim(max(len(effects), 1) - 0.4, -0.6)
    ax.tick_params(axis="x", labelsize=7)
    if not len(effects):
        ax.set_xticks([])
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center", fontsize=7, color="0.45")
        return
    ax.set_xlabel(effects["unit"].iloc[0], fontsize=7, labelpad=1)


@drawing()
def claim_effects(tables: Mapping[str, pd.DataFrame], columns: int = 2) -> Figure:
    """Draw the effects that every claim's verdict rests on.

    Args:
        tables: ``claims`` and ``effects``.
        columns: Panels side by side.

    Returns:
        A figure with a panel per claim: dots with intervals, and beside each a dashed mark at the size that it needs.
        The title gives the verdict, in its colour.
    """
    claims = tables["claims"].to_dict("records")
    effects = tables["effects"]
    measured = effects[effects["value"].notna() & (effects["analysis"] == PRIMARY)]
    parts = [measured[measured["claim"] == claim["claim"]] for claim in claims]
    sizes = [max(1, len(table)) for table in parts]
    heights = [max(sizes[i : i + columns]) + 5 for i in range(0, len(sizes), columns)]
    beside = ConstrainedLayoutEngine(w_pad=0.09)  # inches: half of a number below an end of an axis
    fig = Figure(figsize=(PAGE, 0.16 * sum(heights) + 0.3), layout=beside)
    axes = fig.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for ax in axes.flat[len(claims) :]:
        ax.set_visible(False)
    titles = {}
    for ax, claim, table in zip(axes.flat, claims, parts, strict=False):
        colour = _COLOURS[claim["verdict"]]
        _draw(ax, table, colour)
        statement = re.sub(" ([<>≤=]) ", "\u00a0\\1\u00a0", claim["statement"])  # no line ends inside a formula
        title = mathtext(textwrap.fill(f"{claim['claim']}: {claim['verdict']}. {statement}", 45))
        title = title.replace("‖J_F‖²", r"$\Vert J_F\Vert^2$")
        titles[ax] = ax.set_title(title, loc="left", fontsize=7, color=colour)
    fig.draw_without_rendering()  # how much room the labels take is known only then
    for column in axes.T:
        shown = [ax for ax in column if ax in titles]
        left = min(ax.get_tightbbox(for_layout_only=True).x0 for ax in shown)
        for ax in shown:
            titles[ax].set_x((left - ax.bbox.x0) / ax.bbox.width)
    return fig
