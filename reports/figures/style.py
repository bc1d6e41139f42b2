"""How every figure looks: one colour and marker per defense, error bars, axes, type; readable in grey, in print too.

A figure of the registry is a class with two methods: `draw(collection) -> Figure | None`, None where there is nothing
to draw, and `caption(collection) -> str`, which says what is shown and from what it was made. Its title is the first
line of its docstring. One that may need several pages takes `page` (from 1 on) and draws None past the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..layout import defense_order
from ..paper import DEFENSES
from ..table import Estimate

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

INK, FAINT, PAPER = "#333333", "#DDDDDD", "#8A8A8A"
"""Of text and axes, of the grid, and of the paper's own numbers."""
OKABE_ITO = ("#000000", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#56B4E9")
"""Colours that any colour vision tells apart (Okabe and Ito 2008), without yellow, too faint for lines on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
"""As many as have no divisor in common with the colours: 70 styles until one comes again."""
WIDTH = 7.2
"""Inches across two columns of print; at it the sizes below are points on paper."""
TITLE, TEXT, SMALL = 8.5, 8, 7
EMPTY = " "


class Style(NamedTuple):
    """How a defense is drawn wherever it is drawn."""

    colour: str
    marker: str


def defense_style(names: Iterable[str]) -> dict[str, Style]:
    """A style per defense. names: all in the report, so that a defense looks the same in each of its figures.

    The paper's defenses have theirs whoever else is there; the others follow in the tables' order.

    >>> defense_style(["jpeg", "vanilla"])["vanilla"]
    Style(colour='#000000', marker='o')
    """
    others = sorted(set(names) - set(DEFENSES), key=defense_order)
    every = (*DEFENSES, *others)
    wanted = set(names)
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


def dress(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: Literal["both", "x", "y"] = "both") -> None:
    """Titles in ink at the left, a faint grid behind the data, no box around it."""
    axes.set_title(literal(title), fontsize=TITLE, color=INK, loc="left")
    axes.set_xlabel(literal(x), fontsize=TEXT, color=INK)
    axes.set_ylabel(literal(y), fontsize=TEXT, color=INK)
    axes.tick_params(labelsize=TEXT, colors=INK, length=2.5)
    axes.grid(visible=True, axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)


def percent(axes: Axes) -> None:
    """A vertical axis of accuracies, from nothing right to all."""
    axes.set_ylim(-3, 103)
    axes.set_yticks(range(0, 101, 20))


def series(
    axes: Axes,
    x: Sequence[float],
    estimates: Sequence[Estimate],
    style: Style,
    *,
    filled: bool = True,
    line: str = "-",
    horizontal: bool = False,
) -> None:
    """A line of estimates with their intervals; open markers where not `filled`.

    line: matplotlib's style of it, "" for markers alone · horizontal: accuracies run along the x axis.
    """
    values = [estimate.value for estimate in estimates]
    spread = reach(estimates)
    axes.errorbar(
        values if horizontal else x,
        x if horizontal else values,
        xerr=spread if horizontal else None,
        yerr=None if horizontal else spread,
        elinewidth=0.8,
        capsize=1.6,
        capthick=0.8,
        **marked(style, filled=filled, line=line),
    )


def reach(estimates: Sequence[Estimate]) -> list[list[float]]:
    """How far the intervals reach down and up from the values, never less than nothing."""
    below = [max(0.0, estimate.value - estimate.low) for estimate in estimates]
    return [below, [max(0.0, estimate.high - estimate.value) for estimate in estimates]]


def marked(style: Style, *, filled: bool = True, line: str = "-") -> dict[str, Any]:
    """Matplotlib's keywords for a line of this style, or for its entry in a legend."""
    return {
        "color": style.colour,
        "marker": style.marker,
        "markersize": 5.5 if style.marker == "*" else 4.2,
        "markerfacecolor": style.colour if filled else "white",
        "markeredgewidth": 0.9,
        "linestyle": line or "none",
        "linewidth": 1.2,
    }


def legend(figure: Figure | Axes, entries: Sequence[tuple[str, dict[str, Any]]], **options: Any) -> Legend:
    """A legend of these texts and `marked` keywords; below a figure, or where `options` say."""
    from matplotlib.lines import Line2D

    handles: list[Artist] = [Line2D([], [], **keywords) for _, keywords in entries]
    usual: dict[str, Any] = {"frameon": False, "fontsize": TEXT, "labelcolor": INK, "handlelength": 2.4}
    made = figure.legend(handles, [EMPTY] * len(handles), **{**usual, **options})
    for text, (label, _) in zip(made.get_texts(), entries, strict=True):
        text.set_text(literal(label))  # here, since a label that begins with "_" would be left out
    return made
