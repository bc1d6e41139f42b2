"""Log-log plots of measurements, as PNG and PDF; the same measurements give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
"""Okabe and Ito's, told apart with any colour vision; yellow, which is hard to see on white, left out."""
MARKERS = "osD^vP*X"
_INK, _GUIDE, _FAINT = "#333333", "#999999", "#DDDDDD"


class Line(NamedTuple):
    """A series of measurements, or a guide to compare them with."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    guide: bool = False


class Mark(NamedTuple):
    """A number from elsewhere, for comparison."""

    name: str
    x: float
    y: float


class Panel(NamedTuple):
    """One plot of a figure."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    x_name: Callable[[float], str] = "{:,g}".format


def draw_scaling(panel: Panel, marks: Sequence[Mark], stem: Path) -> list[Path]:
    """Lines named at their right ends, marks as crosses; returns the files written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, panel)
    ends = [(line.x[-1], line.y[-1], line.name, COLOURS[n % len(COLOURS)]) for n, line in enumerate(panel.lines)]
    for mark in marks:
        axes.plot(mark.x, mark.y, "x", color=_INK, markersize=8, markeredgewidth=1.6)
    ends += [(mark.x, mark.y, mark.name, _INK) for mark in marks]
    _name_ends(axes, ends)
    return save_figure(figure, stem)


def draw_panels(panels: Sequence[Panel], stem: Path) -> list[Path]:
    """Panels two in a row, each with a legend where it has several lines."""
    from matplotlib.figure import Figure

    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(10, 4 * rows), layout="constrained")
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(rows, 2, number)
        _draw(axes, panel)
        if len(panel.lines) > 1:
            axes.legend(frameon=False, fontsize=9)
    return save_figure(figure, stem)


def _draw(axes: Axes, panel: Panel) -> None:
    for number, line in enumerate(panel.lines):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        style = {"color": _GUIDE, "linestyle": "--"} if line.guide else {"color": colour, "marker": marker}
        axes.plot(line.x, line.y, label=line.name, linewidth=1.6, markersize=6, **style)  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(panel.title, fontsize=11, loc="left", color=_INK)
    axes.set_xlabel(panel.x_label, color=_INK)
    axes.set_ylabel(panel.y_label, color=_INK)
    _mark_values(axes, panel)
    axes.grid(color=_FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_values(axes: Axes, panel: Panel) -> None:
    """Ticks across at what was measured; upwards a decade at least, with 1, 2 and 5 where it is not many more."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    values = sorted({x for line in panel.lines for x in line.x})
    low, high = axes.get_ylim()
    middle = math.sqrt(low * high)
    low, high = min(low, middle / math.sqrt(10)), max(high, middle * math.sqrt(10))
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1e3 else (1,), numticks=20))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    axes.set_xticks(values, [panel.x_name(value) for value in values])
    axes.minorticks_off()


def _plain(value: float) -> str:
    """ "0.01", "1,000", and powers of ten beyond."""
    if 1e-4 < value < 1e7:
        return f"{value:,.10g}"
    power = math.floor(math.log10(value) + 1e-9)
    return rf"${round(value / 10**power)}\cdot10^{{{power}}}$" if round(value / 10**power) > 1 else f"$10^{{{power}}}$"


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Put names to the right of the axes, no closer to each other than a line of text."""
    axes.figure.canvas.draw()
    wanted = sorted((axes.transData.transform((x, y))[1], name, colour, (x, y)) for x, y, name, colour in ends)
    lowest = float("-inf")
    for height, name, colour, place in wanted:
        lowest = max(height, lowest + 15)
        _, up = axes.transAxes.inverted().transform((0, lowest))
        axes.annotate(
            name,
            place,
            xytext=(1.03, up),
            textcoords="axes fraction",
            color=colour,
            fontsize=9,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6},
        )
