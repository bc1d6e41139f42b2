"""Accuracy against ε under the attacks of the masking checks: the picture beside their verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.metrics import wilson
from harness.registry import figures

from ..collect.cells import Cell, Cells, base_name
from ..collect.collection import Collection
from ..tables.base import Estimate
from ..tables.layout import defense_order, group_order, natural
from ..tables.table2 import about_attacks
from . import style
from .about import provenance
from .curves import Axis, dodged, panel_grid
from .epsilon import epsilon_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {
    "fgsm": ("FGSM", "-"),
    "pgd": ("PGD-20", "-"),
    "effort": ("PGD, more effort", ""),
    "apgd": ("APGD", ""),
    "square": ("Square (black box)", ""),
    "transfer": ("PGD, transferred", ""),
}
"""By kind of attack: its name, and a line where it is made at several radii. Styles go by its place here."""
MOST_PANELS, COLUMNS = 6, 2
PANEL_HEIGHT = 2.2


@figures.register("masking")
class Masking:
    """Accuracy against ε under the attacks of the masking checks, a panel per network.

    page: of 6 panels each, from 1 on
    """

    def __init__(self, *, page: int = 1) -> None:
        self.page = page

    def draw(self, collection: Collection) -> Figure | None:
        """The figure, None when the suite `masking` was not run or there is no such page."""
        panels = self._panels(collection.cells)
        if not panels:
            return None
        members = [cell for panel in panels for cell in panel]
        axis = epsilon_axis(members)
        titles = [_title(panel[0]) for panel in panels]
        shown = [_entry(kind) for kind in KINDS if any(_kind(cell) == kind for cell in members)]
        figure, plots = panel_grid(titles, axis, [shown], columns=COLUMNS, height=PANEL_HEIGHT)
        for axes, panel in zip(plots, panels, strict=True):
            _draw_panel(axes, panel, axis)
        return figure

    def caption(self, collection: Collection) -> str:
        """What is shown and from what; "" without a figure."""
        members = [cell for panel in self._panels(collection.cells) for cell in panel]
        return " ".join([*about_attacks(members), *provenance(collection, members, {})]) if members else ""

    def _panels(self, cells: Cells) -> list[list[Cell]]:
        """The cells of each panel of this page."""
        found: dict[tuple[object, ...], list[Cell]] = defaultdict(list)
        for cell in cells.of_suite("masking"):
            if cell.preprocessed and cell.epsilon and _kind(cell):
                network = (group_order(cell.group), natural(cell.backbone), defense_order(cell.defense), cell.seed)
                found[(*network, cell.preprocess, cell.epsilon_space)].append(cell)
        first = MOST_PANELS * (self.page - 1)
        return [found[key] for key in sorted(found)[first : first + MOST_PANELS]] if self.page > 0 else []


def _title(cell: Cell) -> str:
    return f"{cell.defense}, {cell.preprocess} in front\n{cell.dataset}, {cell.backbone}, seed {cell.seed}"


def _draw_panel(axes: Axes, members: Sequence[Cell], axis: Axis) -> None:
    for number, (kind, (_, line)) in enumerate(KINDS.items()):
        found = sorted((cell for cell in members if _kind(cell) == kind), key=lambda cell: cell.epsilon or 0.0)
        places = [dodged(cell.epsilon or 0.0, number, len(KINDS), axis) for cell in found]
        if found:
            style.series(axes, places, list(map(_estimate, found)), _style(kind), style.Look(line))


def _estimate(cell: Cell) -> Estimate:
    low, high = wilson(cell.n_correct, cell.n_images)
    value = 100 * cell.n_correct / cell.n_images
    return Estimate(value=value, low=100 * low, high=100 * high, images=cell.n_images)


def _kind(cell: Cell) -> str | None:
    if cell.threat == "transfer":
        return "transfer"
    if cell.attack.startswith("pgd:"):
        return "effort"
    return base_name(cell.attack) if base_name(cell.attack) in KINDS else None


def _entry(kind: str) -> style.LegendEntry:
    name, line = KINDS[kind]
    return name, style.marked(_style(kind), style.Look(line))


def _style(kind: str) -> style.Style:
    return style.numbered(list(KINDS).index(kind) + 1)
