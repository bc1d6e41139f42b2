"""Log-log plots of measurements in the style of the reports' figures; the same measurements give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.files.figures import save_figure
from reports.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_HEIGHT, _SCALING_HEIGHT = 3.0, 4.6
"""Inches."""
_NAME_GAP = 12
"""Least distance between two names at the right, in the units of matplotlib's display."""


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


class LineEnd(NamedTuple):
    """Where a line or mark ends, and the name to write beside it."""

    x: float
    y: float
    name: str
    colour: str


def draw_scaling(panel: Panel, marks: Sequence[Mark], stem: Path) -> list[Path]:
    """Lines named at their right ends, marks as crosses; returns the files written, none without a point."""
    if not _has_points(panel):
        return []
    figure = style.new_figure(_SCALING_HEIGHT)
    axes = figure.add_subplot()
    _draw(axes, panel)
    for mark in marks:
        axes.plot(mark.x, mark.y, "x", color=style.PAPER, markersize=7, markeredgewidth=1.4)
    lines = [LineEnd(line.x[-1], line.y[-1], line.name, style.numbered(n).colour) for n, line in enumerate(panel.lines)]
    _name_ends(axes, [*lines, *(LineEnd(mark.x, mark.y, mark.name, style.PAPER) for mark in marks)])
    return save_figure(figure, stem)


def draw_panels(panels: Sequence[Panel], stem: Path) -> list[Path]:
    """Panels two in a row, each with a legend where it has several lines; those without a point are left out.

    Returns the files written.
    """
    panels = list(filter(_has_points, panels))
    if not panels:
        return []
    rows = -(-len(panels) // 2)
    figure = style.new_figure(_PANEL_HEIGHT * rows)
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(rows, 2, number)
        _draw(axes, panel)
        if len(panel.lines) > 1:
            axes.legend(frameon=False, fontsize=style.SMALL, labelcolor=style.INK)
    return save_figure(figure, stem)


def _has_points(panel: Panel) -> bool:
    """Whether anything was measured for it: a bench may be interrupted before."""
    return any(len(line.x) for line in panel.lines)


def _draw(axes: Axes, panel: Panel) -> None:
    for number, line in enumerate(panel.lines):
        usual = style.marked(style.numbered(number), style.Look())
        how = {"color": style.PAPER, "linestyle": "--", "linewidth": 1.2} if line.guide else usual
        axes.plot(line.x, line.y, label=line.name, **how)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    _mark_values(axes, panel)
    style.dress(axes, title=panel.title)


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


def _name_ends(axes: Axes, ends: Sequence[LineEnd]) -> None:
    """Put names to the right of the axes, no closer to each other than a line of text."""
    axes.figure.canvas.draw()
    wanted = sorted((axes.transData.transform((end.x, end.y))[1], end) for end in ends)
    lowest = -math.inf
    for height, end in wanted:
        lowest = max(height, lowest + _NAME_GAP)
        _, up = axes.transAxes.inverted().transform((0, lowest))
        axes.annotate(
            end.name,
            (end.x, end.y),
            xytext=(1.03, up),
            textcoords="axes fraction",
            color=end.colour,
            fontsize=style.TEXT,
            va="center",
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.6, "alpha": 0.6},
        )
