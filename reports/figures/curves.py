"""Lines of estimates over some axis, a panel each: what the figures of accuracy against something share."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from harness.records.schema import Record

from ..collect.cells import Cells, Group, group_of
from ..collect.collection import Collection
from ..formats.render import fold
from ..statistics.estimates import Estimate, mean_accuracy
from ..tables.engine.layout import Label, backbone_label, defense_order, fill
from . import style
from .captions import TREATMENTS, closing_sentences
from .networks import Network, by_network, treatments
from .style import WITH, WITHOUT, Look, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 12
"""In one figure; the next ones are its next page."""
MOST_DEFENSES = 8
"""In one figure: with more lines no panel can be read."""
COLUMNS = 3
PANEL_HEIGHT, TITLE_LINE = 1.75, 0.14
"""Inches of a panel, and of a further line in its title."""
TITLE_WIDTH = 34
"""Characters of a panel's title in a line."""
APART, SPREAD = 0.06, 0.4
"""Shares of a step of the axis: between the marks of one place, so that their bars show, and over all of them."""
USUAL_STEPS = 6
"""Of an axis; one of fewer, longer steps sets marks apart by as many inches, and so by smaller shares."""
DODGED = "Marks of one place stand a little apart, so that their bars show."


class Curve(NamedTuple):
    """A defense's line."""

    defense: str
    treatment: Label
    """Without or with which preprocessing."""
    points: Mapping[float, Estimate]
    """By place on the axis."""


class Axis(NamedTuple):
    """The horizontal axis."""

    name: str
    ticks: Mapping[float, str]
    """Texts by place."""
    log: bool = False
    """Whether distances on it are ratios."""

    @property
    def limits(self) -> tuple[float, float]:
        """Half a step beyond the first and the last tick."""
        return self.moved(min(self.ticks), -0.5), self.moved(max(self.ticks), 0.5)

    @property
    def step(self) -> float:
        """The least distance between ticks, on a logarithmic axis their least ratio, zero left out."""
        pairs = list(itertools.pairwise(sorted(tick for tick in self.ticks if tick or not self.log)))
        return float(
            min((b / a for a, b in pairs), default=2.0) if self.log else min((b - a for a, b in pairs), default=1.0)
        )

    @property
    def steps(self) -> float:
        """How many steps long it is."""
        low, high = self.limits
        return math.log(high / low, self.step) if self.log else (high - low) / self.step

    def at(self, place: float) -> float:
        """Where a place is drawn; a logarithmic axis has no zero, which stands a step before the other ticks."""
        if place or not self.log:
            return float(place)
        return float(min(filter(None, self.ticks)) / self.step)

    def moved(self, place: float, steps: float) -> float:
        """A place so many steps further on."""
        return self.at(place) * self.step**steps if self.log else place + steps * self.step


class Page(NamedTuple):
    """Panels that stand together."""

    network: Network
    """What they show; its rows are (backbone, panel, treatment, place on the axis)."""
    first: int
    """The number of its first panel among all of the network, from 1."""
    total: int
    """How many panels the network has."""

    @property
    def panels(self) -> dict[Label, list[Curve]]:
        """Curves by panel, both in order."""
        points: dict[tuple[Label, str, Label], dict[float, Estimate]] = defaultdict(dict)
        for place, estimate in self.network.places.items():
            _, panel, treatment, where = place.row
            points[panel, place.column, treatment][where.order[0]] = estimate
        curves: dict[Label, list[Curve]] = defaultdict(list)
        for panel, defense, treatment in sorted(points, key=lambda key: (key[0], key[2], defense_order(key[1]))):
            curves[panel].append(Curve(defense, treatment, dict(sorted(points[panel, defense, treatment].items()))))
        return curves

    @property
    def ticks(self) -> list[float]:
        """The places on the axis at which something is drawn."""
        return sorted({place.row[3].order[0] for place in self.network.places})


def pages(
    cells: Cells,
    records: Iterable[Record],
    *,
    panel: Callable[[Record], Label],
    x: Callable[[Record], float],
    group: Callable[[Record], Group] = group_of,
) -> list[Page]:
    """All pages made from these records: of one data set and network after the other, 12 panels a page."""
    records, treatment = treatments(records)
    places = fill(
        records,
        row=lambda record: (backbone_label(record), panel(record), treatment(record), Label((x(record),), "")),
        combine=mean_accuracy,
        paper=lambda _: None,
        group=group,
    )
    return [
        page for network in by_network(places, records, most=MOST_DEFENSES, group=group) for page in _pages(network)
    ]


def _pages(network: Network) -> Iterator[Page]:
    panels = sorted({place.row[1] for place in network.places})
    for start in range(0, len(panels), MOST_PANELS):
        yield Page(network.part(panels[start : start + MOST_PANELS]), start + 1, len(panels))


def draw_page(page: Page, axis: Axis, styles: Mapping[str, Style]) -> Figure:
    """A panel beside the other, the data set and network above, one legend below."""
    network, panels = page.network, page.panels
    looks = treatment_looks(place.row[2] for place in network.places)
    legend = [defense_entries(network.defenses, styles), treatment_entries(looks)]
    top = style.top_of(network.places.values())
    figure, plots = panel_grid([label.text for label in panels], axis, legend, heading=network.title, top=top)
    for axes, curves in zip(plots, panels.values(), strict=True):
        draw_curves(axes, curves, axis, styles, looks)
    return figure


def panel_grid(
    titles: Sequence[str],
    axis: Axis,
    legend: style.Legend,
    *,
    heading: str = "",
    top: int = 100,
    columns: int = COLUMNS,
    height: float = PANEL_HEIGHT,
) -> tuple[Figure, list[Axes]]:
    """A figure of plots with these titles, axes named and numbered at the edges. height: of a plot, in inches."""
    columns = 2 if len(titles) == 4 else min(columns, len(titles))
    rows = -(-len(titles) // columns)
    width = TITLE_WIDTH * COLUMNS // columns
    texts = ["\n".join(fold(line, width) for line in title.split("\n")) for title in titles]
    lines = max(text.count("\n") for text in texts)
    figure = style.new_figure((height + TITLE_LINE * lines) * rows + style.surroundings(legend))
    plots = [figure.add_subplot(rows, columns, number + 1) for number in range(len(titles))]
    for number, (axes, text) in enumerate(zip(plots, texts, strict=True)):
        style.dress(axes, title=text)
        style.percent(axes, top, name=number % columns == 0)
        _mark(axes, axis, name=number + columns >= len(titles))
    style.heading(figure, heading)
    style.legend(figure, legend)
    return figure, plots


def page_caption(collection: Collection, page: Page, sentences: Sequence[str]) -> str:
    """The figure's own sentences, which part of it this page is, and from what it was made."""
    here, network = len(page.panels), page.network
    part = [f"Panels {page.first}–{page.first + here - 1} of {page.total}."] if here < page.total else []
    apart = [DODGED] if any(len(curves) > 1 for curves in page.panels.values()) else []
    return " ".join([*sentences, *part, TREATMENTS, *apart, *closing_sentences(collection.cells, network)])


def treatment_looks(labels: Iterable[Label]) -> dict[Label, Look]:
    """Without preprocessing dashed and open, with it solid and filled, with further kinds of it in other lines."""
    known = sorted(set(labels))
    with_it = [label for label in known if label.order != (0,)]
    looks = {label: WITH[number % len(WITH)] for number, label in enumerate(with_it)}
    return {label: looks.get(label, WITHOUT) for label in known}


def treatment_entries(looks: Mapping[Label, Look]) -> list[style.LegendEntry]:
    """A legend's entries for treatments, in grey and without a defense's marker."""
    neutral = Style(style.INK, "o")
    return [(_treatment_text(label), style.marked(neutral, look)) for label, look in looks.items()]


def _treatment_text(label: Label) -> str:
    return f"{label.text} preprocessing" if label.text in ("without", "with") else label.text


def defense_entries(
    defenses: Iterable[str], styles: Mapping[str, Style], look: Look = WITH[0]
) -> list[style.LegendEntry]:
    """A legend's entries for defenses, in this look."""
    return [(defense, style.marked(styles[defense], look)) for defense in defenses]


def draw_curves(
    axes: Axes, curves: Sequence[Curve], axis: Axis, styles: Mapping[str, Style], looks: Mapping[Label, Look]
) -> None:
    """The lines of one plot, their marks a little apart; zero on a logarithmic axis stands for itself, unjoined."""
    for number, curve in enumerate(curves):
        style_of, look = styles[curve.defense], looks[curve.treatment]
        alone = {0.0} if axis.log else set()
        for places, how in ((curve.points.keys() - alone, look), (curve.points.keys() & alone, look._replace(line=""))):
            x = [dodged(place, number, len(curves), axis) for place in sorted(places)]
            if x:
                style.series(axes, x, [curve.points[place] for place in sorted(places)], style_of, how)


def _mark(axes: Axes, axis: Axis, *, name: bool) -> None:
    """The horizontal axis; its name and numbers only where they are not said below."""
    if axis.log:
        axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xlim(*axis.limits)
    axes.set_xticks(
        list(map(axis.at, axis.ticks)),
        list(map(style.literal, axis.ticks.values())) if name else [""] * len(axis.ticks),
    )
    axes.set_xlabel(axis.name if name else "")


def dodged(place: float, number: int, count: int, axis: Axis) -> float:
    """Where the mark of one of several curves goes, so that the bars at one place stand beside each other."""
    share = min(1.0, axis.steps / USUAL_STEPS)
    apart = share * min(APART, SPREAD / count) * (number - (count - 1) / 2)
    return axis.moved(place, apart)
