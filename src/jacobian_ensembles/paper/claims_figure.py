"""The figure of the claims: every effect with its interval beside the size it needs, a panel per claim."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jacobian_ensembles.paper.claims import FAILS, HOLDS, OPEN, REVERSED, Checked, check_claims
from jacobian_ensembles.paper.effects import Effect, trainings_of
from jacobian_ensembles.paper.markup import mathtext
from jacobian_ensembles.paper.style import PAGE, drawing

_COLOURS = {HOLDS: "#0173b2", FAILS: "#d55e00", REVERSED: "#cc78bc", OPEN: "0.45"}


def _draw(ax: Axes, effects: Sequence[Effect], colour: str, unit: str) -> None:
    """One claim: a row per effect, from top to bottom; an arrow for one above 12 times the largest size needed."""
    shown = [effect for effect in effects if not math.isnan(effect.mean)]
    edge = 12 * max((abs(effect.needed) for effect in shown), default=1.0)
    for y, effect in enumerate(shown):
        ax.plot([effect.needed] * 2, [y - 0.42, y + 0.42], color="0.15", linewidth=1.1, linestyle=(0, (2, 1)))
        if abs(effect.mean) > edge:
            right = effect.mean > 0
            ax.plot(math.copysign(edge, effect.mean), y, ">" if right else "<", color=colour, markersize=4.5)
            ax.annotate(
                f"{effect.mean:+.0f}", (math.copysign(edge, effect.mean), y), xytext=(-6 if right else 6, 0),
                textcoords="offset points", ha="right" if right else "left", va="center", fontsize=7, color=colour,
            )  # fmt: skip
            continue
        known = math.isfinite(effect.low) and math.isfinite(effect.high)
        if known:
            ends = [min(max(end, -edge), edge) for end in (effect.low, effect.high)]
            ax.plot(ends, [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
        # hollow without an interval: a single value
        ax.plot(effect.mean, y, "o", color=colour, markersize=4.5, markerfacecolor=colour if known else "white")
    ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(shown)), [mathtext(effect.part) for effect in shown], fontsize=7)
    ax.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    ax.tick_params(axis="x", labelsize=7)
    ax.set_xlabel(unit, fontsize=7, labelpad=1)
    if not shown:
        ax.set_xticks([])
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center", fontsize=7, color="0.45")


@drawing()
def plot_claims(checked: Sequence[Checked], columns: int = 2) -> Figure:
    """Draw every claim's effects.

    Args:
        checked: The claims of a run.
        columns: Panels side by side.

    Returns:
        A figure with a panel per claim: dots with intervals, and beside each a dashed mark at the size that it needs.
        The title gives the verdict, in its colour.
    """
    rows = [checked[i : i + columns] for i in range(0, len(checked), columns)]
    heights = [max(1, *(len(claim.effects) for claim in row)) + 3.4 for row in rows]
    fig = Figure(figsize=(PAGE, 0.15 * sum(heights) + 0.3), layout="constrained")
    axes = fig.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for ax in axes.flat[len(checked) :]:
        ax.set_visible(False)
    for ax, claim in zip(axes.flat, checked, strict=False):
        colour = _COLOURS[claim.row.verdict]
        _draw(ax, claim.effects, colour, claim.rule.unit)
        statement = re.sub(" ([<>≤=]) ", "\u00a0\\1\u00a0", claim.row.statement)  # no line ends inside a formula
        title = mathtext(textwrap.fill(f"{claim.row.claim}: {claim.row.verdict}. {statement}", 45))
        title = title.replace("‖J_F‖²", r"$\Vert J_F\Vert^2$")
        ax.set_title(title, loc="left", fontsize=7, color=colour, x=-0.5)
    return fig


def claim_effects(tables: Mapping[str, pd.DataFrame], clean_weight: float, confidence: float) -> Figure:
    """:func:`plot_claims` of a run's ``metrics`` and ``jacobian``."""
    trainings = trainings_of(tables["metrics"], tables["jacobian"], clean_weight)
    return plot_claims(check_claims(trainings, confidence))
