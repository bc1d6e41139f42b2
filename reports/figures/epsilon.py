"""Accuracy against the radius of adversarial attacks."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from harness.metrics import show_epsilon
from harness.registry import figures

from ..collect.cells import Cell, Cells, Group
from ..collect.collection import Collection
from ..tables.layout import Label, threat_label
from ..tables.table2 import about_attacks, attack_label
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
            page, epsilon_axis(page.network.members), style.defense_style(cell.defense for cell in collection.cells)
        )

    def caption(self, collection: Collection) -> str:
        """What is shown and from what; "" without a figure."""
        page = self._page(collection.cells)
        if page is None:
            return ""
        attacked = [cell for cell in page.network.members if cell.epsilon]
        return page_caption(collection, page, [*about_attacks(attacked), *_about_zero(page)])

    def _page(self, cells: Cells) -> Page | None:
        made = _pages(cells)
        return made[self.page - 1] if 1 <= self.page <= len(made) else None


@functools.lru_cache(maxsize=1)
def _pages(cells: Cells) -> list[Page]:
    """All pages; kept, since every page and its caption ask for them."""
    attacked = [*cells.of_suite("adversarial"), *cells.of_suite("masking")]
    chosen = _with_a_curve([cell for cell in attacked if cell.epsilon and cell.attack != "landscape"])
    clean = _unattacked(cells, chosen)
    return pages(
        cells,
        [*chosen, *clean],
        panel=_panel_label(chosen),
        x=lambda cell: cell.epsilon or 0.0,
        group=lambda cell: clean.get(cell, cell.group),
    )


def _unattacked(cells: Cells, attacked: Sequence[Cell]) -> dict[Cell, Group]:
    """The clean cells as ε = 0 of every line, each with the line's group: attacks may be on fewer images."""
    clean = {(_scored(cell), cell.n_images): cell for cell in sorted(cells.of_suite("clean"), key=_size)}
    largest = {network: cell for (network, _), cell in clean.items()}
    lines = {(_scored(cell), _attack(cell)): cell for cell in attacked}
    found: dict[Cell, Group] = {}
    for (network, _), line in lines.items():
        cell = clean.get((network, line.n_images), largest.get(network))
        if cell is not None:
            scored = line._replace(identity=cell.identity, n_images=cell.n_images, n_correct=cell.n_correct)
            found[scored._replace(condition=cell.condition, epsilon=0.0, details=cell.details)] = line.group
    return found


def _scored(cell: Cell) -> tuple[object, ...]:
    return *cell.network, cell.preprocess


def _size(cell: Cell) -> int:
    return cell.n_images


def _about_zero(page: Page) -> list[str]:
    if 0.0 not in page.ticks:
        return []
    attacked, clean = ({c.n_images for c in page.network.members if bool(c.epsilon) is kind} for kind in (True, False))
    images = "" if clean <= attacked else f", on n = {' and '.join(f'{n:,}' for n in sorted(clean))}"
    return [f"ε = 0: clean accuracy{images}; not joined, since the axis is logarithmic."]


def epsilon_axis(attacked: Iterable[Cell]) -> Axis:
    """The axis of ε, in 255ths where all radii are whole ones, named by the spaces in which it is measured."""
    attacked = list(attacked)
    texts = {radius: show_epsilon(radius) for radius in sorted({cell.epsilon or 0.0 for cell in attacked})}
    spaces = " or ".join(sorted({cell.epsilon_space for cell in attacked if cell.epsilon_space}))
    levels = all(text.endswith("/255") for radius, text in texts.items() if radius)
    ticks = {radius: text.removesuffix("/255") if levels else text for radius, text in texts.items()}
    return Axis(f"ε ({spaces}{', of 255' if levels else ''})", ticks, log=True)


def _with_a_curve(attacked: Sequence[Cell]) -> list[Cell]:
    """Those of the attacks that were made at several radii."""
    radii: dict[object, set[float | None]] = defaultdict(set)
    for cell in attacked:
        radii[_attack(cell)].add(cell.epsilon)
    return [cell for cell in attacked if len(radii[_attack(cell)]) > 1]


def _attack(cell: Cell) -> tuple[object, ...]:
    return cell.group, cell.backbone, cell.threat, attack_label(cell).text, cell.epsilon_space, cell.norm


def _panel_label(chosen: Sequence[Cell]) -> Callable[[Cell], Label]:
    """Threat model and attack; space and norm of ε where there are several."""
    several = len({(cell.epsilon_space, cell.norm) for cell in chosen}) > 1

    def label(cell: Cell) -> Label:
        threat, attack = threat_label(cell), attack_label(cell)
        ball = f", {cell.norm} {cell.epsilon_space}" if several else ""
        order = (threat.order, attack.order[:-1], attack.text, cell.epsilon_space, cell.norm)
        return Label(order, f"{threat.text}: {attack.text}{ball}")

    return label
