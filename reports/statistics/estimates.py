"""From the records of one place in a table to its number: over conditions, then over seeds, with an interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from harness.metrics import Interval, bootstrap_mean, mean_and_std, robust_correct, student, wilson
from harness.records.schema import Record

from ..collect.cells import perturbation_of
from ..paper.numbers import PaperNumber
from .attack_coverage import covered, furthest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """One measured accuracy, in percent, with its 95 % interval."""

    value: float
    low: float
    high: float
    std: float | None = None
    """Standard deviation over seeds; None with one seed."""
    seeds: int = 1
    """How many it is over."""
    expected_seeds: int = 1
    """How many the table has."""
    images: int
    conditions: int = 1
    """How many it is over."""
    expected: int = 1
    """How many the row has."""
    paper: PaperNumber | None = None
    best: bool = False
    """Whether it is marked as the best of its row and data set."""

    @property
    def complete(self) -> bool:
        """Whether every condition of the row is in it."""
        return self.conditions == self.expected

    @property
    def difference(self) -> float | None:
        """Ours − the paper's, in points; None where the paper has no number."""
        return None if self.paper is None else self.value - self.paper.accuracy

    @property
    def covered(self) -> bool | None:
        """Whether our interval holds the paper's number, whose own uncertainty is left out; None without one."""
        return None if self.paper is None else self.low <= self.paper.accuracy <= self.high


Combine = Callable[[Sequence[Record], Sequence[Record]], Estimate]
"""From (the records of a place, the records of its whole row, of any defense) to the place's estimate."""
RESAMPLING_SEED = 0
"""Every interval starts its own generator here, so that it does not depend on what else is in the report."""


def mean_accuracy(records: Sequence[Record], row: Sequence[Record]) -> Estimate:
    """The mean accuracy over the conditions, each weighing the same.

    The interval is Wilson's for one cell, else from resampling images (paired over conditions and seeds); over
    several seeds it reaches at each end as far as Student's over their means, where that is further.
    """
    seeds = _comparable_seeds(records)
    shares = [float(np.mean([record.n_correct / record.n_images for record in seed])) for seed in seeds]
    used = [record for seed in seeds for record in seed]
    one = used[0]
    interval = (
        wilson(one.n_correct, one.n_images) if len(used) == 1 else _resampled(record.correct() for record in used)
    )
    return _estimate(shares, interval, seeds, (len(seeds[0]), len({perturbation_of(record) for record in row})))


def worst_case(records: Sequence[Record], row: Sequence[Record]) -> Estimate:
    """Robust accuracy: the share of images right under every attack recorded, averaged over seeds.

    Of an attack in stages the last one counts. Its conditions are attacks, see `covered`.
    """
    seeds = [furthest(seed) for seed in _comparable_seeds(records)]
    survived = [robust_correct([record.correct() for record in seed]) for seed in seeds]
    one = survived[0]
    interval = wilson(int(one.sum()), len(one)) if len(survived) == 1 else _resampled(survived)
    return _estimate([float(part.mean()) for part in survived], interval, seeds, covered(seeds[0], row))


def _comparable_seeds(records: Sequence[Record]) -> list[list[Record]]:
    """The records of each seed, only of seeds that have all the conditions of the fullest one.

    The table says how many seeds are missing, see `Estimate.expected_seeds`.
    """
    by_seed: dict[int, dict[Hashable, Record]] = {}
    for record in records:
        by_seed.setdefault(record.seed, {})[perturbation_of(record)] = record
    fullest = max(by_seed.values(), key=len)
    return [list(seed.values()) for _, seed in sorted(by_seed.items()) if seed.keys() == fullest.keys()]


def _resampled(outcomes: Iterable[np.ndarray]) -> Interval:
    return bootstrap_mean(list(outcomes), np.random.default_rng(RESAMPLING_SEED))


def _wider(first: Interval, second: Interval) -> Interval:
    """At each end the further one: images are a sample, and so are the trainings."""
    return Interval(min(first.low, second.low), max(first.high, second.high))


def _estimate(
    shares: Sequence[float], interval: Interval, seeds: Sequence[Sequence[Record]], counts: tuple[int, int]
) -> Estimate:
    """In percent. shares: by seed; interval: over images; counts: conditions in it, and how many there should be."""
    mean, std = mean_and_std(shares)
    interval = interval if std is None else _wider(interval, student(shares))
    return Estimate(
        value=100 * mean,
        low=100 * interval.low,
        high=100 * interval.high,
        std=None if std is None else 100 * std,
        seeds=len(seeds),
        images=seeds[0][0].n_images,
        conditions=counts[0],
        expected=counts[1],
    )
