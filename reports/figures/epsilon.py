"""Accuracy against the radius of adversarial attacks."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from harness.metrics import show_epsilon
from harness.records.schema import Record
from harness.registry import figures

from ..collect.cells import Cells, Group, group_of, network_of
from ..collect.collection import Collection
from ..tables.engine.layout import Label, threat_label
from ..tables.table2 import attack_label, attack_sentences
from . import style
from .curves import Axis, Page, draw_page, page_caption, pages

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@figures.register("epsilon")
class Epsilon:
    """Accuracy against ε, a panel per threat model and attack.

    page: of 12 panels each, from 1 on
    """

    def __init__(self, *, page: int = 1) -> None:
        self.page = page

    def draw(self, collection: Collection) -> Figure | None:
        """The figure, None when no attack was run or there is no such page."""
        page = self._page(collection.cells)
        if page is None:
            return None
        return draw_page(
            page, epsilon_axis(page.network.members), style.defense_style(record.defense for record in collection.cells)
        )

    def caption(self, collection: Collection) -> str:
        """What is shown and from what; "" without a figure."""
        page = self._page(collection.cells)
        if page is None:
            return ""
        attacked = [record for record in page.network.members if record.epsilon]
        return page_caption(collection, page, [*attack_sentences(attacked), *_zero_sentences(page)])

    def _page(self, cells: Cells) -> Page | None:
        made = _pages(cells)
        return made[self.page - 1] if 1 <= self.page <= len(made) else None


@functools.lru_cache(maxsize=1)
def _pages(cells: Cells) -> list[Page]:
    """All pages; kept, since every page and its caption ask for them."""
    attacked = [*cells.of_suite("adversarial"), *cells.diagnostics()]
    records = _with_a_curve([record for record in attacked if record.epsilon and not record.details.measures])
    clean = _unattacked(cells, records)
    return pages(
        cells,
        [*records, *clean],
        panel=_panel_label(records),
        x=lambda record: record.epsilon or 0.0,
        group=lambda record: clean.get(record, group_of(record)),
    )


def _unattacked(cells: Cells, attacked: Sequence[Record]) -> dict[Record, Group]:
    """The clean cells as ε = 0 of every line, each with the line's group: attacks may be on fewer images."""
    clean = {(_scored(record), record.n_images): record for record in sorted(cells.of_suite("clean"), key=_size)}
    largest = {network: record for (network, _), record in clean.items()}
    lines = {(_scored(record), _attack(record)): record for record in attacked}
    points: dict[Record, Group] = {}
    for (network, _), line in lines.items():
        record = clean.get((network, line.n_images), largest.get(network))
        if record is not None:
            points[_at_zero(line, record)] = group_of(line)
    return points


def _at_zero(line: Record, clean: Record) -> Record:
    """A clean record as the first point of an attack's line."""
    return dataclasses.replace(
        line,
        epsilon=0.0,
        **{
            name: getattr(clean, name)
            for name in ("identity", "condition", "n_images", "n_correct", "details", "outcome_bits")
        },
    )


def _scored(record: Record) -> tuple[object, ...]:
    return *network_of(record), record.preprocess


def _size(record: Record) -> int:
    return record.n_images


def _zero_sentences(page: Page) -> list[str]:
    if 0.0 not in page.ticks:
        return []
    attacked, clean = ({c.n_images for c in page.network.members if bool(c.epsilon) is kind} for kind in (True, False))
    images = "" if clean <= attacked else f", on n = {' and '.join(f'{n:,}' for n in sorted(clean))}"
    return [f"ε = 0: clean accuracy{images}; not joined, since the axis is logarithmic."]


def epsilon_axis(attacked: Iterable[Record]) -> Axis:
    """The axis of ε, in 255ths where all radii are whole ones, named by the spaces in which it is measured."""
    attacked = list(attacked)
    texts = {radius: show_epsilon(radius) for radius in sorted({record.epsilon or 0.0 for record in attacked})}
    spaces = " or ".join(sorted({record.epsilon_space for record in attacked if record.epsilon_space}))
    levels = all(text.endswith("/255") for radius, text in texts.items() if radius)
    ticks = {radius: text.removesuffix("/255") if levels else text for radius, text in texts.items()}
    return Axis(f"ε ({spaces}{', of 255' if levels else ''})", ticks, log=True)


def _with_a_curve(attacked: Sequence[Record]) -> list[Record]:
    """Those of the attacks that were made at several radii."""
    radii: dict[object, set[float | None]] = defaultdict(set)
    for record in attacked:
        radii[_attack(record)].add(record.epsilon)
    return [record for record in attacked if len(radii[_attack(record)]) > 1]


def _attack(record: Record) -> tuple[object, ...]:
    return (
        group_of(record),
        record.backbone,
        record.threat,
        attack_label(record).text,
        record.epsilon_space,
        record.norm,
    )


def _panel_label(records: Sequence[Record]) -> Callable[[Record], Label]:
    """Threat model and attack; space and norm of ε where there are several."""
    several = len({(record.epsilon_space, record.norm) for record in records}) > 1

    def label(record: Record) -> Label:
        threat, attack = threat_label(record), attack_label(record)
        ball = f", {record.norm} {record.epsilon_space}" if several else ""
        order = (threat.order, attack.order[:-1], attack.text, record.epsilon_space, record.norm)
        return Label(order, f"{threat.text}: {attack.text}{ball}")

    return label
