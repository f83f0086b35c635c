"""How figures are drawn: at the widths of a paper, and in the same style whatever the environment asks for.

Figures are made without pyplot, so ``MPLBACKEND`` has no say either.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.rcsetup import cycler

from jacobian_ensembles.paper.labels import METHOD_COLOURS
from jacobian_ensembles.paper.markup import mathtext

#: Inches: the width of one column of a paper, and of two.
COLUMN, PAGE = 3.3, 6.75
#: Of the words QUICK RUN and the like.
MARK = "crimson"
_MOST = 4  # panels side by side that can be read at PAGE
_SMALL, _NORMAL = 7, 8  # points
_STYLE: dict[Any, Any] = {
    "figure.figsize": (COLUMN, 2.4),
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "figure.titlesize", "figure.labelsize"), _NORMAL),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize"), _SMALL),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width", "patch.linewidth"), 0.6),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 2.5),
    "axes.prop_cycle": cycler("color", METHOD_COLOURS),
    "axes.titlepad": 4,
    "axes.labelpad": 3,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.4,
    "legend.borderaxespad": 0.2,
    **dict.fromkeys(("pdf.fonttype", "ps.fonttype"), 42),  # TrueType: publishers refuse the default, Type 3
}
# no dates or version strings inside, so that equal numbers give equal files
_METADATA = {"pdf": {"CreationDate": None, "Producer": None, "Creator": None}, "png": {"Software": None}}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the project's style, from matplotlib's defaults, not from a user's rc file; also a decorator."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


@drawing()
def picture(fig: Figure, kind: str) -> bytes:
    """A figure as a ``pdf`` or a ``png`` (200 dpi); equal figures are equal bytes."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format=kind, dpi=200, metadata=_METADATA[kind])
    return buffer.getvalue()


def panels(
    rows: Sequence[Any], columns: Sequence[Any], height: float, **options: Any
) -> tuple[Figure, dict[tuple[Any, Any], Axes]]:
    """An empty figure with a panel for each (row, column), one column of a paper wide, or two.

    Args:
        rows: Keys of the rows, from the top.
        columns: Keys of the columns; more than four are broken into further lines.
        height: Of a panel with its labels, in inches.
        options: Of :meth:`matplotlib.figure.Figure.subplots`, such as ``sharex``.

    Returns:
        The figure, and the panels by (row, column).
    """
    lines = -(-len(columns) // _MOST)
    across = -(-len(columns) // lines)
    size = (PAGE if across > 1 else COLUMN, height * lines * len(rows) + 0.4)
    fig = Figure(figsize=size, layout="constrained")
    grid = fig.subplots(lines * len(rows), across, squeeze=False, **options)
    found: dict[tuple[Any, Any], Axes] = {}
    for i, row in enumerate(rows):
        free = list(grid[i * lines : (i + 1) * lines].flat)
        found |= {(row, column): ax for column, ax in zip(columns, free, strict=False)}
        for ax in free[len(columns) :]:
            ax.set_visible(False)
    return fig, found


def is_outer(ax: Axes) -> tuple[bool, bool]:
    """Whether a panel is the first of its line, which carries the label of y, and the last of its column."""
    place = ax.get_subplotspec()
    assert place is not None
    below = [other for other in ax.figure.axes if other.get_visible() and _is_below(other, ax)]
    return place.is_first_col(), not below


def _is_below(other: Axes, ax: Axes) -> bool:
    there, here = other.get_subplotspec(), ax.get_subplotspec()
    assert there is not None
    assert here is not None
    return there.colspan.start == here.colspan.start and there.rowspan.start > here.rowspan.start


def legend_above(fig: Figure, entries: dict[str, Artist]) -> None:
    """One legend for all panels, above them, in as few lines as the figure's width allows."""
    for lines in range(1, len(entries) + 1):
        legend = fig.legend(
            list(entries.values()), list(entries), loc="outside upper center", ncols=-(-len(entries) // lines)
        )
        if lines == len(entries) or legend.get_window_extent().width <= fig.bbox.width:
            break
        legend.remove()


def sample(color: Any, marker: str = "", linestyle: Any = "none", **options: Any) -> Line2D:
    """What stands for lines or points in a legend."""
    return Line2D([], [], color=color, marker=marker, linestyle=linestyle, **options)


def bar(marker: str = "|") -> Line2D:
    """What stands for error bars in a legend."""
    return sample("0.4", marker, markersize=8, markeredgewidth=0.8)


def shades(count: int) -> list[tuple[float, float, float]]:
    """Colours from dark to light that can be told apart in grey, and by the colour-blind."""
    return [mpl.colormaps["viridis"](0.85 * i / max(count - 1, 1))[:3] for i in range(count)]


def add_mark(fig: Figure, mark: str) -> None:
    """A few words below the panels, small, that say what kind of run this is; the rest stands in the caption."""
    if mark:
        fig.supxlabel(mathtext(mark), x=0.995, ha="right", fontsize=_SMALL, color=MARK)
