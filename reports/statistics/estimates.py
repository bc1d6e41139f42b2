"""From the cells of one place in a table to its number: over conditions, then over seeds, with an interval."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from harness.metrics import Interval, bootstrap_mean, mean_and_std, robust_correct, student, wilson

from ..collect.cells import Cell, Cells
from ..tables.base import Estimate
from .attacks import covered, furthest

Combine = Callable[[Cells, Sequence[Cell], Sequence[Cell]], Estimate]
"""From (all cells, the cells of a place, the cells of its whole row, of any defense) to its estimate."""
RESAMPLING_SEED = 0
"""Every interval starts its own generator here, so that it does not depend on what else is in the report."""


def mean_accuracy(cells: Cells, chosen: Sequence[Cell], row: Sequence[Cell]) -> Estimate:
    """The mean accuracy over the conditions, each weighing the same.

    The interval is Wilson's for one cell, else from resampling images (paired over conditions and seeds); over
    several seeds it reaches at each end as far as Student's over their means, where that is further.
    """
    seeds = _comparable_seeds(chosen)
    shares = [float(np.mean([cell.n_correct / cell.n_images for cell in seed])) for seed in seeds]
    used = [cell for seed in seeds for cell in seed]
    one = used[0]
    interval = wilson(one.n_correct, one.n_images) if len(used) == 1 else _resampled(map(cells.correct, used))
    return _estimate(shares, interval, seeds, (len(seeds[0]), len({cell.disturbance for cell in row})))


def worst_case(cells: Cells, chosen: Sequence[Cell], row: Sequence[Cell]) -> Estimate:
    """Robust accuracy: the share of images right under every attack recorded, averaged over seeds.

    Of an attack in stages the last one counts. Its conditions are attacks, see `attacks.covered`.
    """
    seeds = [furthest(seed) for seed in _comparable_seeds(chosen)]
    survived = [robust_correct([cells.correct(cell) for cell in seed]) for seed in seeds]
    one = survived[0]
    interval = wilson(int(one.sum()), len(one)) if len(survived) == 1 else _resampled(survived)
    return _estimate([float(part.mean()) for part in survived], interval, seeds, covered(seeds[0], row))


def _comparable_seeds(chosen: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of each seed, of those seeds only that have the conditions of the fullest one.

    The table says where seeds are missing for that, see `Estimate.expected_seeds`.
    """
    by_seed: dict[int, dict[Hashable, Cell]] = {}
    for cell in chosen:
        by_seed.setdefault(cell.seed, {})[cell.disturbance] = cell
    fullest = max(by_seed.values(), key=len)
    return [list(seed.values()) for _, seed in sorted(by_seed.items()) if seed.keys() == fullest.keys()]


def _resampled(outcomes: Iterable[np.ndarray]) -> Interval:
    return bootstrap_mean(list(outcomes), np.random.default_rng(RESAMPLING_SEED))


def _wider(first: Interval, second: Interval) -> Interval:
    """At each end the further one: images are a sample, and so are the trainings."""
    return Interval(min(first.low, second.low), max(first.high, second.high))


def _estimate(
    shares: Sequence[float], interval: Interval, seeds: Sequence[Sequence[Cell]], counts: tuple[int, int]
) -> Estimate:
    """shares: by seed · interval: over images · counts: how many conditions are in it, and how many should be."""
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
