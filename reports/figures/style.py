"""How every figure looks: one colour and marker per defense, error bars, axes, type; readable in grey, in print too.

A figure of the registry is a class with two methods: `draw(collection) -> Figure | None`, None where there is nothing
to draw, and `caption(collection) -> str`, which says what is shown and from what it was made. Its title is the first
line of its docstring. One that may need several pages takes `page` (from 1 on) and draws None past the last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..paper.numbers import DEFENSES
from ..statistics.estimates import Estimate
from ..tables.engine.layout import defense_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, PAPER = "#333333", "#DDDDDD", "#8A8A8A"
"""Of text and axes, of the grid, and of the paper's own numbers."""
OKABE_ITO = ("#000000", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#56B4E9")
"""Colours that any colour vision tells apart (Okabe and Ito 2008), without yellow, too faint for lines on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
"""As many as have no divisor in common with the colours: 70 styles until one comes again."""
WIDTH = 7.2
"""Inches across two columns of print; at it the sizes below are points on paper."""
HEADING, TITLE, TEXT, SMALL = 9.5, 8.5, 8, 7
"""Sizes of type in points."""
_LINE, _BESIDE = 105, 9
"""Characters of a legend that fit beside each other, and what an entry takes beside its text."""
_HEADING_HEIGHT, _LEGEND_HEIGHT = 0.4, 0.18
LegendEntry = tuple[str, dict[str, Any]]
"""A text, and what `marked` says of its mark."""
Legend = Sequence[Sequence[LegendEntry]]
"""Blocks of entries."""
_NOTHING: LegendEntry = ("", {"linestyle": "none"})


FAINTNESS = 0.35
"""Opacity of a mean over fewer conditions than others have."""


class Style(NamedTuple):
    """How a defense is drawn wherever it is drawn."""

    colour: str
    marker: str


class Look(NamedTuple):
    """What varies within a style."""

    line: str = "-"
    """Matplotlib's name of it; "" for marks alone."""
    fill: Literal["open", "full", "left", "bottom"] = "full"
    alpha: float = 1.0
    """Opacity; 1 hides what is behind."""


WITHOUT, WITH = Look("--", "open"), (Look("-", "full"), Look("-.", "left"), Look(":", "bottom"))
"""Without preprocessing, and with one, two, three kinds of it."""


def defense_style(names: Iterable[str]) -> dict[str, Style]:
    """A style per defense. names: all in the report, so that a defense looks the same in each of its figures.

    The paper's defenses have theirs whoever else is there; the others follow in the tables' order.

    >>> defense_style(["jpeg", "vanilla"])["vanilla"]
    Style(colour='#000000', marker='o')
    """
    wanted = set(names)
    every = (*DEFENSES, *sorted(wanted - set(DEFENSES), key=defense_order))
    return {name: numbered(place) for place, name in enumerate(every) if name in wanted}


def numbered(place: int) -> Style:
    """The style with this number, for what is not a defense."""
    return Style(OKABE_ITO[place % len(OKABE_ITO)], MARKERS[place % len(MARKERS)])


def literal(text: str) -> str:
    """Text that matplotlib shows as it is: `$` starts no formula.

    >>> print(literal("a$b"))
    a\\$b
    """
    return text.replace("$", r"\$")


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, its sides in inches, which makes room for its labels by itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def dress(axes: Axes, *, title: str = "", grid: Literal["both", "x", "y"] = "both") -> None:
    """A title in ink at the left, a faint grid behind the data, no box around it, and sizes of type."""
    axes.set_title(literal(title), fontsize=TITLE, color=INK, loc="left")
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(fontsize=TEXT, color=INK)
    axes.tick_params(labelsize=TEXT, colors=INK, length=2.5)
    axes.grid(visible=True, axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)


def top_of(estimates: Iterable[Estimate]) -> int:
    """Where a vertical axis of these accuracies ends, so that no bar passes it."""
    return top(max((max(e.high, e.value + (e.std or 0.0)) for e in estimates), default=100.0))


def top(highest: float) -> int:
    """Where a vertical axis of accuracies up to this one ends: at a multiple of 20 percent."""
    return min(100, max(20, 20 * math.ceil(highest / 20)))


def percent(axes: Axes, top: int = 100, *, name: bool = True) -> None:
    """A vertical axis of accuracies from 0 on; its name and numbers only where they are not said at the left."""
    step = 20 if top > 40 else 10
    ticks = range(0, top + 1, step)
    axes.set_ylim(-0.05 * top, 1.04 * top)
    axes.set_yticks(ticks, [str(tick) if name else "" for tick in ticks])
    axes.set_ylabel("accuracy in percent" if name else "")


def series(
    axes: Axes,
    x: Sequence[float],
    estimates: Sequence[Estimate],
    style: Style,
    look: Look,
    *,
    horizontal: bool = False,
) -> None:
    """A line of estimates with their intervals. horizontal: accuracies run along the x axis."""
    values = [estimate.value for estimate in estimates]
    spread = reach(estimates)
    axes.errorbar(
        values if horizontal else x,
        x if horizontal else values,
        xerr=spread if horizontal else None,
        yerr=None if horizontal else spread,
        elinewidth=0.8,
        **marked(style, look),
    )


def reach(estimates: Sequence[Estimate]) -> list[list[float]]:
    """How far the bars reach down and up: to the ends of the interval, over seeds by their standard deviation."""
    ends = [(e.low, e.high) if e.std is None else (e.value - e.std, e.value + e.std) for e in estimates]
    below = [max(0.0, estimate.value - low) for estimate, (low, _) in zip(estimates, ends, strict=True)]
    return [below, [max(0.0, high - estimate.value) for estimate, (_, high) in zip(estimates, ends, strict=True)]]


def marked(style: Style, look: Look) -> dict[str, Any]:
    """Matplotlib's keywords for a line of this style, or for its entry in a legend."""
    return {
        "color": style.colour,
        "marker": style.marker,
        "markersize": 5.5 if style.marker == "*" else 4.2,
        "fillstyle": "full" if look.fill == "open" else look.fill,
        "markerfacecolor": "white" if look.fill == "open" else style.colour,
        "markerfacecoloralt": "white",
        "markeredgewidth": 0.9,
        "linestyle": look.line or "none",
        "linewidth": 1.2,
        "alpha": look.alpha,
    }


def heading(figure: Figure, text: str) -> None:
    """What all panels have in common, above them."""
    figure.suptitle(literal(text), fontsize=HEADING, color=INK, x=0.01, ha="left")


def legend(figure: Figure, blocks: Legend) -> None:
    """A legend below a figure: each block starts a line of its own, in as many columns as fit."""
    from matplotlib.lines import Line2D

    columns = _columns(blocks)
    rows = [entry for block in blocks for entry in [*block, *[_NOTHING] * (-len(block) % columns)]]
    entries = [entry for column in range(columns) for entry in rows[column::columns]]
    made = figure.legend(
        [Line2D([], [], **keywords) for _, keywords in entries],
        [" "] * len(entries),
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        fontsize=TEXT,
        labelcolor=INK,
        handlelength=2.6,
        columnspacing=1.4,
    )
    for text, (label, _) in zip(made.get_texts(), entries, strict=True):
        text.set_text(literal(label))  # here, since a label that begins with "_" would be left out


def surroundings(blocks: Legend) -> float:
    """The inches that the heading and this legend take."""
    return _HEADING_HEIGHT + _LEGEND_HEIGHT * sum(-(-len(block) // _columns(blocks)) for block in blocks)


def _columns(blocks: Legend) -> int:
    longest = max(len(label) for block in blocks for label, _ in block)
    return max(1, min(max(map(len, blocks)), int(_LINE // (longest + _BESIDE))))
