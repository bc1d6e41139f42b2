"""All measures at a glance: a row each, a dot per defense.

Dots and not a radar: a radar's area depends on the order of its spokes, its spokes have no room for intervals, and
differences near its centre cannot be seen. Dots on one scale are read most exactly (Cleveland and McGill 1984).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.registry import figures

from ..collect.cells import Cells
from ..collect.collection import Collection
from ..formats.render import fold
from ..tables.engine.layout import Label, summary_group
from ..tables.summary import measured, measures, robustness_sentences
from . import style
from .captions import DOTS, closing_sentences
from .curves import defense_entries, treatment_entries, treatment_looks
from .networks import Network, by_network, treatments
from .style import Look, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DEFENSES = 10
LABEL_WIDTH = 32
DOT_HEIGHT, LEAST_HEIGHT, PAGE_HEIGHT, AXIS_HEIGHT = 0.14, 0.32, 8.2, 0.35
"""Inches of a defense in a row, of a row at least, of all rows at most, and of the axis below."""


@figures.register("overview")
class Overview:
    """Every measure of the summary, a row each, a dot per defense.

    page: a data set and network each, from 1 on
    """

    def __init__(self, *, page: int = 1) -> None:
        self.page = page

    def draw(self, collection: Collection) -> Figure | None:
        """The figure, None when there is nothing to sum up or no such page."""
        network = self._network(collection)
        if network is None:
            return None
        styles = style.defense_style(cell.defense for cell in collection.cells)
        looks = treatment_looks(place.row[2] for place in network.places)
        looks = {label: look._replace(line="") for label, look in looks.items()}
        rows = sorted({place.row[1] for place in network.places})
        legend = [defense_entries(network.defenses, styles, Look("")), treatment_entries(looks)]
        height = _row_height(len(network.defenses)) * len(rows) + AXIS_HEIGHT
        figure = style.new_figure(height + style.surroundings(legend))
        axes = figure.add_subplot()
        style.dress(axes, grid="x")
        _draw_dots(axes, network, styles, looks)
        _name_rows(axes, rows)
        style.heading(figure, network.title)
        style.legend(figure, legend)
        return figure

    def caption(self, collection: Collection) -> str:
        """What is shown and from what; "" without a figure."""
        network = self._network(collection)
        if network is None:
            return ""
        return " ".join([*robustness_sentences(network.members), DOTS, *closing_sentences(collection.cells, network)])

    def _network(self, collection: Collection) -> Network | None:
        networks = _networks(collection.cells)
        return networks[self.page - 1] if 1 <= self.page <= len(networks) else None


@functools.lru_cache(maxsize=1)
def _networks(cells: Cells) -> list[Network]:
    """All pages; kept, since every page and its caption ask for them."""
    records, treatment = treatments(measured(cells))
    places = measures(records, treatment)
    networks = by_network(places, records, most=MOST_DEFENSES, group=summary_group)
    return [part for network in networks for part in _parts(network)]


def _parts(network: Network) -> Iterator[Network]:
    """As many rows a page as fit."""
    rows = sorted({place.row[1] for place in network.places})
    fitting = int(PAGE_HEIGHT / _row_height(len(network.defenses)))
    for start in range(0, len(rows), fitting):
        yield network.part(rows[start : start + fitting])


def _row_height(defenses: int) -> float:
    return max(LEAST_HEIGHT, DOT_HEIGHT * (defenses + 1))


def _draw_dots(axes: Axes, network: Network, styles: Mapping[str, Style], looks: Mapping[Label, Look]) -> None:
    """Row by row downwards, in a row defense by defense, without and with preprocessing nearly on one line."""
    rows = {label: number for number, label in enumerate(sorted({place.row[1] for place in network.places}))}
    lines = {defense: number for number, defense in enumerate(network.defenses)}
    kinds = {label: number for number, label in enumerate(looks)}
    part = 1 / (len(lines) + 1)
    for place, estimate in sorted(network.places.items(), key=lambda item: (item[0].row, lines[item[0].column])):
        _, row, treatment = place.row
        within = lines[place.column] - (len(lines) - 1) / 2
        shift = 0.44 * (kinds[treatment] - (len(kinds) - 1) / 2)
        look = looks[treatment] if estimate.complete else looks[treatment]._replace(alpha=style.FAINTNESS)
        where = rows[row] + part * (within + shift)
        style.series(axes, [where], [estimate], styles[place.column], look, horizontal=True)


def _name_rows(axes: Axes, rows: Sequence[Label]) -> None:
    """The measures at the left, the first on top, lines between them; accuracies below and above."""
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [style.literal(fold(label.text, LABEL_WIDTH)) for label in rows])
    axes.tick_params(axis="y", length=0)
    for place in range(1, len(rows)):
        axes.axhline(place - 0.5, color=style.FAINT, linewidth=0.6)
    axes.set_xlim(-1, 101)
    axes.set_xticks(range(0, 101, 10))
    axes.set_xlabel("accuracy in percent")
