"""Where smoothing changed nothing: its level was out of reach, so that “with” repeats what is there without."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..collect.cells import Cell
from ..tables.layout import natural

WORTH_SAYING = 0.05
"""The share of images from which on it is said."""
OUTCOMES = ("reached", "unreachable", "max_iterations")
MOST_CONDITIONS = 6
"""That a caption lists; it counts the rest."""


class Unchanged(NamedTuple):
    """How many of so many smoothed images smoothing returned as they were."""

    images: int
    of: int

    @property
    def worth_saying(self) -> bool:
        """Whether they are more than a few."""
        return self.images > WORTH_SAYING * self.of


def unchanged(chosen: Iterable[Cell]) -> Unchanged:
    """Over all these cells; cells whose images were not smoothed count for nothing."""
    found = [json.loads(cell.details or "{}").get("smoothing") or {} for cell in chosen]
    images = sum(each.get("unreachable", 0) for each in found)
    return Unchanged(images, sum(each.get(outcome, 0) for each in found for outcome in OUTCOMES))


def about_smoothing(chosen: Sequence[Cell]) -> list[str]:
    """A caption's sentence on the conditions under which smoothing changed nothing, if there are such."""
    by_condition: dict[str, list[Cell]] = defaultdict(list)
    for cell in chosen:
        by_condition[cell.condition].append(cell)
    alike: dict[Unchanged, list[str]] = defaultdict(list)
    for condition, cells in sorted(by_condition.items(), key=lambda each: natural(each[0])):
        if (counted := unchanged(cells)).worth_saying:
            alike[counted].append(condition)
    if not alike:
        return []
    said = [f"{of.images:,} of {of.of:,} images unchanged under {_listed(names)}" for of, names in alike.items()]
    return [f"Smoothing returned {'; '.join(said)} (level unreachable)."]


def _listed(conditions: Sequence[str]) -> str:
    more = f" and {len(conditions) - MOST_CONDITIONS} more" if len(conditions) > MOST_CONDITIONS else ""
    return ", ".join(conditions[:MOST_CONDITIONS]) + more
