"""Accuracy against ε under the attacks of the masking checks: the picture beside their verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.metrics import wilson
from harness.records.schema import Record
from harness.registry import figures

from ..collect.cells import Cells, group_of
from ..collect.collection import Collection
from ..collect.labels import base_name, natural
from ..statistics.estimates import Estimate
from ..tables.engine.layout import defense_order, group_order
from ..tables.table2 import attack_sentences
from . import style
from .captions import provenance
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
        members = [record for panel in panels for record in panel]
        axis = epsilon_axis(members)
        titles = [_title(panel[0]) for panel in panels]
        shown = [_entry(kind) for kind in KINDS if any(_kind(record) == kind for record in members)]
        figure, plots = panel_grid(titles, axis, [shown], columns=COLUMNS, height=PANEL_HEIGHT)
        for axes, panel in zip(plots, panels, strict=True):
            _draw_panel(axes, panel, axis)
        return figure

    def caption(self, collection: Collection) -> str:
        """What is shown and from what; "" without a figure."""
        members = [record for panel in self._panels(collection.cells) for record in panel]
        return " ".join([*attack_sentences(members), *provenance(collection.cells, members, {})]) if members else ""

    def _panels(self, cells: Cells) -> list[list[Record]]:
        """The cells of each panel of this page."""
        panels: dict[tuple[object, ...], list[Record]] = defaultdict(list)
        for record in cells.diagnostics():
            if record.preprocessed and record.epsilon and _kind(record):
                network = (
                    group_order(group_of(record)),
                    natural(record.backbone),
                    defense_order(record.defense),
                    record.seed,
                )
                panels[(*network, record.preprocess, record.epsilon_space)].append(record)
        first = MOST_PANELS * (self.page - 1)
        return [panels[key] for key in sorted(panels)[first : first + MOST_PANELS]] if self.page > 0 else []


def _title(record: Record) -> str:
    return f"{record.defense}, {record.preprocess} in front\n{record.dataset}, {record.backbone}, seed {record.seed}"


def _draw_panel(axes: Axes, members: Sequence[Record], axis: Axis) -> None:
    for number, (kind, (_, line)) in enumerate(KINDS.items()):
        records = sorted(
            (record for record in members if _kind(record) == kind), key=lambda record: record.epsilon or 0.0
        )
        places = [dodged(record.epsilon or 0.0, number, len(KINDS), axis) for record in records]
        if records:
            style.series(axes, places, list(map(_estimate, records)), _style(kind), style.Look(line))


def _estimate(record: Record) -> Estimate:
    low, high = wilson(record.n_correct, record.n_images)
    value = 100 * record.n_correct / record.n_images
    return Estimate(value=value, low=100 * low, high=100 * high, images=record.n_images)


def _kind(record: Record) -> str | None:
    if record.threat == "transfer":
        return "transfer"
    if record.attack.startswith("pgd:"):
        return "effort"
    return base_name(record.attack) if base_name(record.attack) in KINDS else None


def _entry(kind: str) -> style.LegendEntry:
    name, line = KINDS[kind]
    return name, style.marked(_style(kind), style.Look(line))


def _style(kind: str) -> style.Style:
    return style.numbered(list(KINDS).index(kind) + 1)
