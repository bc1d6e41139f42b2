"""Accuracy against the severity of corruptions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.records.schema import Record
from harness.registry import figures

from ..collect.cells import Cells, network_of
from ..collect.collection import Collection
from ..tables.engine.layout import source_label
from ..tables.table1 import corruption_label
from . import style
from .curves import Axis, Page, draw_page, page_caption, pages

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@figures.register("severity")
class Severity:
    """Accuracy against severity, a panel per corruption.

    page: of 12 panels each, from 1 on
    """

    def __init__(self, *, page: int = 1) -> None:
        self.page = page

    def draw(self, collection: Collection) -> Figure | None:
        """The figure, None when no corruption was run or there is no such page."""
        page = self._page(collection.cells)
        if page is None:
            return None
        axis = Axis("severity", {severity: f"{severity:.0f}" for severity in page.ticks})
        return draw_page(page, axis, style.defense_style(record.defense for record in collection.cells))

    def caption(self, collection: Collection) -> str:
        """What is shown and from what; "" without a figure."""
        page = self._page(collection.cells)
        if page is None:
            return ""
        sources = " and ".join(sorted({record.source for record in page.network.members if record.source}))
        clean = ["Severity 0: the images as they are."] if 0 in page.ticks else []
        return page_caption(collection, page, [*clean, *([f"Corrupted images: {sources}."] if sources else [])])

    def _page(self, cells: Cells) -> Page | None:
        made = _pages(cells)
        return made[self.page - 1] if 1 <= self.page <= len(made) else None


@functools.lru_cache(maxsize=1)
def _pages(cells: Cells) -> list[Page]:
    """All pages; kept, since every page and its caption ask for them."""
    records = [record for record in cells.of_suite("corruption") if record.severity is not None]
    records += _at_severity_0(cells, records)
    return pages(
        cells, records, panel=source_label(records, corruption_label), x=lambda record: float(record.severity or 0)
    )


def _at_severity_0(cells: Cells, corrupted: Sequence[Record]) -> Iterator[Record]:
    """The clean cells as severity 0 of every line that is scored on the same images."""
    clean = {_network(record): record for record in cells.of_suite("clean")}
    lines = {(_network(record), record.suite, record.condition, record.source) for record in corrupted}
    for network, suite, condition, source in sorted(lines):
        if network in clean:
            yield dataclasses.replace(clean[network], suite=suite, condition=condition, source=source, severity=0)


def _network(record: Record) -> tuple[object, ...]:
    return *network_of(record), record.n_images, record.preprocess
