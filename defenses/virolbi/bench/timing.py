"""How often to measure so that a comparison keeps to its budget; clocks, and the mean of repeats."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

Result = TypeVar("Result")
PER_REPEAT = 8
"""Iterations measured before time is spent on repeats instead."""


class Repeats(NamedTuple):
    """How often to measure a path."""

    repeats: int
    measured: int
    """In how many of the path's iterations each repeat measures a projection."""


def plan_repeats(cost: float, iterations: int, budget: float, repeats: int) -> Repeats:
    """As much as `budget` seconds allow at `cost` seconds an iteration: the whole path first, then up to `repeats`.

    >>> plan_repeats(0.001, 15_000, 40, 5)
    Repeats(repeats=2, measured=15000)
    >>> plan_repeats(0.1, 15_000, 40, 5)
    Repeats(repeats=5, measured=80)
    """
    affordable = max(1, int(budget / cost))
    wanted = iterations if affordable >= iterations else PER_REPEAT
    repeats = min(repeats, max(1, affordable // wanted))
    return Repeats(repeats, min(iterations, affordable // repeats))


def spread(iterations: int, count: int) -> list[int]:
    """The middle iteration of each of `count` equal stretches of a path, numbered from 1.

    >>> spread(15_000, 3), spread(3, 3)
    ([2501, 7501, 12501], [1, 2, 3])
    """
    return [(2 * j + 1) * iterations // (2 * count) + 1 for j in range(count)]


class Timed(NamedTuple, Generic[Result]):
    """The seconds of a call, and its result."""

    seconds: float
    result: Result


def clock(work: Callable[[], Result]) -> Timed[Result]:
    """Call `work` and time it."""
    started = time.perf_counter()
    result = work()
    return Timed(time.perf_counter() - started, result)


def repeatedly(work: Callable[[], object], budget: float, most: int) -> Iterator[float]:
    """Seconds of one call after another: at least one, then as long as `budget` seconds allow, at most `most`."""
    deadline = time.perf_counter() + budget
    for _ in range(most):
        seconds = clock(work).seconds
        yield seconds
        if time.perf_counter() + seconds > deadline:
            return


class Spread(NamedTuple):
    """The mean of repeats and their standard deviation, None for one."""

    mean: float
    std: float | None


def summarize(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of at least one value."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
