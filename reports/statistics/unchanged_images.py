"""Images that smoothing returned as they were, because its level was out of reach."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from harness.records.schema import Record

WORTH_SAYING = 0.05
"""The share of images from which on it is said."""
OUTCOMES = ("reached", "unreachable", "max_iterations")


class Unchanged(NamedTuple):
    """How many images smoothing returned as they were."""

    images: int
    of: int
    """Smoothed images in all."""

    @property
    def worth_saying(self) -> bool:
        """Whether they are more than a few."""
        return self.images > WORTH_SAYING * self.of


def unchanged(records: Iterable[Record]) -> Unchanged:
    """Over all these records; those whose images were not smoothed count for nothing."""
    outcomes = [record.details.outcomes for record in records]
    images = sum(each.get("unreachable", 0) for each in outcomes)
    return Unchanged(images, sum(each.get(outcome, 0) for each in outcomes for outcome in OUTCOMES))
