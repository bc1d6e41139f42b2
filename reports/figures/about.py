"""What the captions of all figures say: how to read the marks, and from what the figure was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ..captions import common
from ..cells import Cell
from ..collection import Collection
from ..layout import Place, defense_order
from ..table import Estimate

BARS = "Bars: 95 % interval, of a mean over seeds its standard deviation."
TREATMENTS = "Open marks and dashed lines: without preprocessing; filled marks and other lines: with it."
DOTS = "Open marks: without preprocessing; filled marks: with it."
FAINT = "Faint marks: a mean over fewer of the conditions than others have."
MOST_NAMES = 12
"""Names that a caption lists; it counts the rest."""


def about(collection: Collection, chosen: Sequence[Cell], places: Mapping[Place, Estimate]) -> list[str]:
    """The sentences that follow a figure's own: bars, data, training, seeds, preprocessing, hardware."""
    partial = any(not estimate.complete for estimate in places.values())
    return [
        BARS,
        *([FAINT] if partial else []),
        *common(collection.cells, chosen, {place: _as_drawn(estimate) for place, estimate in places.items()}),
        *hardware(collection, chosen),
    ]


def hardware(collection: Collection, chosen: Sequence[Cell]) -> list[str]:
    """On what the cells were computed, where the records say it."""
    devices = {device for cell in chosen if (device := device_of(collection, cell))}
    return [f"Computed on: {'; '.join(sorted(devices))}."] if devices else []


def device_of(collection: Collection, cell: Cell) -> str:
    """On what a cell was computed, "" where that is not recorded."""
    return str(collection.environments.get(cell.identity, {}).get("device") or "")


def left_out(defenses: Sequence[str], kept: int) -> list[str]:
    """Which defenses had to be left out, and of how many."""
    if not defenses:
        return []
    named = ", ".join(sorted(defenses, key=defense_order)[:MOST_NAMES])
    more = f" and {len(defenses) - MOST_NAMES} more" if len(defenses) > MOST_NAMES else ""
    return [f"Shown: the {kept} defenses with the most conditions; left out: {named}{more}."]


def _as_drawn(estimate: Estimate) -> Estimate:
    """Without what only tables mark, so that the caption explains no mark that is not there."""
    return dataclasses.replace(
        estimate, paper=None, conditions=estimate.expected, expected_seeds=estimate.seeds, best=False
    )
