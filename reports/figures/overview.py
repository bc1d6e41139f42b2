"""All measures at a glance: a row each, a dot per defense.

Dots and not a radar: a radar's area depends on the order of its spokes, its spokes have no room for intervals, and
differences near its centre cannot be seen. Dots on one scale are read most exactly (Cleveland and McGill 1984).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from harness.registry import figures

from ..cells import Cell, Group
from ..collection import Collection
from ..layout import Label, Place, backbone_label, defense_order, group_names, group_order
from ..render import fold
from ..summary import about_robustness, measured, measures, summary_group
from ..table import Estimate
from . import style
from .about import DOTS, about, left_out
from .curves import defense_entries, most_complete, treatment_entries, treatment_looks
from .style import Look, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DEFENSES = 10
LABEL_WIDTH = 32
DOT_HEIGHT, LEAST_HEIGHT, PAGE_HEIGHT, EXTRA_HEIGHT = 0.13, 0.32, 8.2, 0.95
"""Inches of a defense in a row, of a row at least, of all rows at most, and of title and legend."""
FAINT = 0.35
"""Opacity of a mean over fewer conditions than others have."""


class Page(NamedTuple):
    """Rows of one data set and network. places: what is drawn, rows being (backbone, measure, treatment)."""

    title: str
    places: Mapping[Place, Estimate]
    members: Sequence[Cell]
    left_out: Sequence[str]

    @property
    def rows(self) -> list[Label]:
        """The measures, in the summary's order."""
        return sorted({place.row[1] for place in self.places})

    @property
    def treatments(self) -> set[Label]:
        """Without and with which preprocessing."""
        return {place.row[2] for place in self.places}

    @property
    def defenses(self) -> list[str]:
        """Those shown, in the tables' order."""
        return sorted({place.defense for place in self.places}, key=defense_order)


@figures.register("overview")
class Overview:
    """Every measure of the summary, a row each, a dot per defense.

    page: a data set and network each, from 1 on
    """

    def __init__(self, *, page: int = 1) -> None:
        self.page = page

    def draw(self, collection: Collection) -> Figure | None:
        """The figure, None when there is nothing to sum up or no such page."""
        page = self._page(collection)
        if page is None:
            return None
        styles = style.defense_style(cell.defense for cell in collection.cells)
        looks = {label: look._replace(line="") for label, look in treatment_looks(page.treatments).items()}
        figure = style.new_figure(_row_height(len(page.defenses)) * len(page.rows) + EXTRA_HEIGHT)
        axes = figure.add_subplot()
        style.dress(axes, grid="x")
        _draw_dots(axes, page, styles, looks)
        _name_rows(axes, page.rows)
        style.heading(figure, page.title)
        style.legend(figure, defense_entries(page.defenses, styles, Look("")), treatment_entries(looks))
        return figure

    def caption(self, collection: Collection) -> str:
        """What is shown and from what; "" without a figure."""
        page = self._page(collection)
        if page is None:
            return ""
        shown = set(page.defenses)
        drawn = [cell for cell in page.members if cell.defense in shown]
        own = *about_robustness(drawn), DOTS, *left_out(page.left_out, len(shown))
        return " ".join([*own, *about(collection, drawn, page.places)])

    def _page(self, collection: Collection) -> Page | None:
        found = _pages(collection)
        return found[self.page - 1] if 1 <= self.page <= len(found) else None


def _pages(collection: Collection) -> list[Page]:
    chosen = measured(collection.cells)
    networks: dict[tuple[Group, Label], dict[Place, Estimate]] = defaultdict(dict)
    for place, estimate in measures(collection.cells, chosen).items():
        networks[place.group, place.row[0]][place] = estimate
    members: dict[tuple[Group, Label], list[Cell]] = defaultdict(list)
    for cell in chosen:
        members[summary_group(cell), backbone_label(cell)].append(cell)
    named = group_names(group for group, _ in networks)
    return [
        page
        for key in sorted(networks, key=lambda key: (group_order(key[0]), key[1]))
        for page in _split(f"{named[key[0]]}, {key[1].text}", networks[key], members[key])
    ]


def _split(title: str, places: Mapping[Place, Estimate], members: Sequence[Cell]) -> Iterator[Page]:
    """As many rows a page as fit."""
    kept = most_complete(places, MOST_DEFENSES)
    others = sorted({place.defense for place in places} - kept, key=defense_order)
    shown = {place: estimate for place, estimate in places.items() if place.defense in kept}
    rows = sorted({place.row[1] for place in shown})
    fitting = int(PAGE_HEIGHT / _row_height(len(kept)))
    for start in range(0, len(rows), fitting):
        here = set(rows[start : start + fitting])
        yield Page(title, {place: shown[place] for place in shown if place.row[1] in here}, members, others)


def _row_height(defenses: int) -> float:
    return max(LEAST_HEIGHT, DOT_HEIGHT * (defenses + 1))


def _draw_dots(axes: Axes, page: Page, styles: Mapping[str, Style], looks: Mapping[Label, Look]) -> None:
    """Row by row downwards, in a row defense by defense, without and with preprocessing nearly on one line."""
    rows = {label: number for number, label in enumerate(page.rows)}
    lines = {defense: number for number, defense in enumerate(page.defenses)}
    treatments = {label: number for number, label in enumerate(looks)}
    part = 1 / (len(lines) + 1)
    for place, estimate in sorted(page.places.items(), key=lambda item: (item[0].row, defense_order(item[0].defense))):
        _, row, treatment = place.row
        within = lines[place.defense] - (len(lines) - 1) / 2
        shift = 0.44 * (treatments[treatment] - (len(treatments) - 1) / 2)
        look = looks[treatment] if estimate.complete else looks[treatment]._replace(alpha=FAINT)
        where = rows[row] + part * (within + shift)
        style.series(axes, [where], [estimate], styles[place.defense], look, horizontal=True)


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
