"""Images that smoothing returned unchanged, because its level was unreachable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from harness.records.schema import Record

WORTH_SAYING = 0.05
"""The share of unchanged images above which reports mention them."""
OUTCOMES = ("reached", "unreachable", "max_iterations")


class Unchanged(NamedTuple):
    """How many images smoothing returned unchanged."""

    images: int
    of: int
    """The number of all images that went through smoothing."""

    @property
    def worth_saying(self) -> bool:
        """Whether reports mention them."""
        return self.images > WORTH_SAYING * self.of


def unchanged(records: Iterable[Record]) -> Unchanged:
    """The unchanged images of all these records; records without smoothing do not count."""
    outcomes = [record.details.outcomes for record in records]
    images = sum(each.get("unreachable", 0) for each in outcomes)
    return Unchanged(images, sum(each.get(outcome, 0) for each in outcomes for outcome in OUTCOMES))
