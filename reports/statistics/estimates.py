"""From the records of one place in a table to its number with an interval: a mean over conditions, then over seeds."""

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
    """The number of seeds in the mean."""
    expected_seeds: int = 1
    """The number of seeds in the table."""
    images: int
    conditions: int = 1
    """The number of conditions in the mean, or of attacks in the worst case."""
    expected: int = 1
    """The number of them in the row."""
    paper: PaperNumber | None = None
    best: bool = False
    """Whether it is the best of its row and data set."""

    @property
    def complete(self) -> bool:
        """Whether it covers every condition of the row."""
        return self.conditions == self.expected

    @property
    def difference(self) -> float | None:
        """Ours − the paper's, in points; None where the paper has no number."""
        return None if self.paper is None else self.value - self.paper.accuracy

    @property
    def covered(self) -> bool | None:
        """Whether our interval covers the paper's number, whose own uncertainty is ignored; None without a number."""
        return None if self.paper is None else self.low <= self.paper.accuracy <= self.high


Combine = Callable[[Sequence[Record], Sequence[Record]], Estimate]
"""From the records of a place, and those of its whole row under any defense, to the place's estimate."""
RESAMPLING_SEED = 0
"""The seed of every interval's own generator: an interval does not depend on what else is in the report."""


def mean_accuracy(records: Sequence[Record], row: Sequence[Record]) -> Estimate:
    """The mean accuracy over the conditions, all with the same weight.

    The interval is Wilson's for one cell, else from resampling images, paired over conditions and seeds. Over several
    seeds, each of its ends is the wider of this one and Student's over the seeds' means.
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
    """Robust accuracy: the share of images that are correct under every recorded attack, averaged over seeds.

    Of an attack in stages the last one counts. The estimate's conditions are attacks, see `covered`.
    """
    seeds = [furthest(seed) for seed in _comparable_seeds(records)]
    outcomes = [correct_in_all(seed) for seed in seeds]
    one = outcomes[0]
    interval = wilson(int(one.sum()), len(one)) if len(outcomes) == 1 else _resampled(outcomes)
    return _estimate([float(correct.mean()) for correct in outcomes], interval, seeds, covered(seeds[0], row))


def correct_in_all(records: Iterable[Record]) -> np.ndarray:
    """Which images are correct in all of these records: [N] bool."""
    return robust_correct([record.correct() for record in records])


def _comparable_seeds(records: Sequence[Record]) -> list[list[Record]]:
    """By seed, its records; only seeds with as many conditions as any has.

    The table says how many seeds are missing, see `Estimate.expected_seeds`.
    """
    by_seed: dict[int, dict[Hashable, Record]] = {}
    for record in records:
        by_seed.setdefault(record.seed, {})[perturbation_of(record)] = record
    fullest = max(by_seed.values(), key=len)
    return [list(seed.values()) for _, seed in sorted(by_seed.items()) if seed.keys() == fullest.keys()]


def _resampled(outcomes: Iterable[np.ndarray]) -> Interval:
    return bootstrap_mean(list(outcomes), np.random.default_rng(RESAMPLING_SEED))


def _estimate(
    shares: Sequence[float], interval: Interval, seeds: Sequence[Sequence[Record]], counts: tuple[int, int]
) -> Estimate:
    """In percent.

    shares: the accuracy of each seed.
    interval: over images.
    counts: the numbers of recorded and of expected conditions.
    """
    mean, std = mean_and_std(shares)
    if std is not None:  # images are a sample, and so are the trainings
        over_seeds = student(shares)
        interval = Interval(min(interval.low, over_seeds.low), max(interval.high, over_seeds.high))
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
