"""Table 7: iterations on a gray image with a projection in every one, by several methods on one machine."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from harness.errors import UserError, unknown_name
from harness.progress import track

from ..method.settings import Settings, make_settings
from ..projection import project
from ..smoothing import smooth
from .baselines import by_csgraph, by_label
from .images import gray_picture
from .measurements import Measurement, Measurements
from .projected_path import PathPoint, project_along, walk
from .timing import clock, plan_repeats, repeatedly, spread

WHOLE = ("gradient", "graph")
"""Measured over the whole path: iterations without a projection, and ours, which relabels where the support changes."""
METHODS = (*WHOLE, "graph_anew", "label", "csgraph", "lsqr", "qr", "svd")
COLUMNS = (
    *("method", "image", "size", "iterations", "scheme", "nu", "kappa", "threads", "repeat", "measured"),
    *("measured_at", "extrapolated", "projection_seconds", "gradient_seconds", "seconds", "deviation"),
)
_PILOTS = (3, 50)
_PILOTS_SHARE = 0.2
"""Share of the budget for measuring how long a projection takes, before the repeats are planned."""
LISTED = 16
"""Up to so many measured iterations are named one by one."""
_SCALING_SHARE = 0.1
"""Share of the budget for a method at each of the sizes that only the plot shows."""

Projection = Callable[[PathPoint], np.ndarray]
"""From a point of a path to its projection [1,H,W]."""


class Setup(NamedTuple):
    """What to measure."""

    methods: Sequence[str]
    size: int
    """Pixels a side."""
    iterations: int
    repeats: int
    """At most."""
    budget: float
    """Seconds for each method."""
    scaling: Sequence[int] = ()
    """Sizes that are measured more briefly, for the plot."""
    picture: Path | None = None
    """A file; None for the astronaut."""
    threads: int = 1


class Course(NamedTuple):
    """The path to measure along: that of an image [1,H,W] called `name`, with the paper's settings."""

    image: torch.Tensor
    name: str
    settings: Settings
    iterations: int

    def at(self, stops: Sequence[int]) -> Iterator[PathPoint]:
        """The path after these numbers of iterations."""
        return walk(self.image, self.settings, stops)


def check(setup: Setup) -> None:
    """Raises: UserError for anything that cannot be measured."""
    if not setup.methods:
        raise UserError(f"--methods must be at least one of {', '.join(METHODS)}, got nothing.")
    for name in setup.methods:
        if name not in METHODS:
            raise unknown_name("projection method", name, METHODS)
    for option, sizes in (("--size", [setup.size]), ("--scaling", setup.scaling)):
        if min(sizes, default=2) < 2:
            raise UserError(f"{option} must be 2 or more pixels a side, got {min(sizes)}.")
    for option in ("iterations", "repeats", "threads"):
        if getattr(setup, option) < 1:
            raise UserError(f"--{option} must be 1 or more, got {getattr(setup, option)}.")
    if not setup.budget > 0:
        raise UserError(f"--budget must be above 0 seconds, got {setup.budget:g}.")


def measure(setup: Setup, measurements: Measurements) -> None:
    """Measure smaller images first, and fast methods before slow ones; each repeat is recorded at once."""
    torch.set_num_threads(setup.threads)
    smaller = setup._replace(budget=_SCALING_SHARE * setup.budget)
    for size in setup.scaling:
        _measure_size(smaller._replace(size=size), measurements)
    _measure_size(setup, measurements)


def _measure_size(setup: Setup, measurements: Measurements) -> None:
    course = _open(setup)
    numbers = {"scheme": course.settings.scheme, "nu": course.settings.nu, "kappa": course.settings.kappa}
    shared = {"image": course.name, "size": setup.size, "iterations": setup.iterations, "threads": setup.threads}
    gradient: list[float] = []
    for method in track(
        [name for name in METHODS if name in {"gradient", *setup.methods}], f"{setup.size}×{setup.size}"
    ):
        rows = _whole(method, course, setup) if method in WHOLE else _extrapolated(method, course, setup, min(gradient))
        for row in rows:
            if method == "gradient":
                gradient.append(row["seconds"])
            if method in setup.methods:
                measurements.add(method=method, **shared, **numbers, **row)


def _open(setup: Setup) -> Course:
    """The path of the picture at that size, with its kernels compiled."""
    image, name = gray_picture(setup.picture, setup.size)
    settings = make_settings(setup.size, setup.size, kappa=5.0, nu=1.0, step=None)
    course = Course(torch.from_numpy(image), name, settings, setup.iterations)
    for method in WHOLE:
        if method in ("gradient", *setup.methods):
            _run(method, course._replace(iterations=1))
    return course


def _whole(method: str, course: Course, setup: Setup) -> Iterator[Measurement]:
    """A row for every run along the whole path."""
    for repeat, seconds in enumerate(repeatedly(lambda: _run(method, course), setup.budget, setup.repeats), 1):
        how = {"repeat": repeat, "measured": course.iterations, "measured_at": "all", "extrapolated": False}
        yield {**how, "seconds": seconds}


def _run(method: str, course: Course) -> None:
    if method == "gradient":
        smooth(course.image, iterations=course.iterations)
    else:
        project_along(course.image, course.settings, course.iterations)


def _extrapolated(method: str, course: Course, setup: Setup, gradient: float) -> Iterator[Measurement]:
    """A row per repeat: the seconds of the whole path, from projections at some of its iterations or at all.

    One projection comes first. Where it takes the method's whole budget, it is the only measurement.
    gradient: seconds of the path without projections.
    """
    project = _projection(method)
    (middle,) = spread(course.iterations, 1)
    point = next(course.at([middle]))
    first, projected = clock(functools.partial(project, point))
    deviation = float(np.abs(projected - _projection("graph_anew")(point)).max())
    how = {"gradient_seconds": gradient, "deviation": deviation}
    if first >= setup.budget:
        yield {"repeat": 1, **how, **_over_the_path([middle], [first], course.iterations, gradient)}
        return
    cost = _cost(project, course, first, setup.budget)
    repeats, measured = plan_repeats(cost, course.iterations, setup.budget, setup.repeats)
    places = spread(course.iterations, repeats * measured)
    for repeat in range(1, repeats + 1):
        stops = places[repeat - 1 :: repeats]  # others each time, so that repeats differ as the choice of places does
        seconds = _seconds(project, course.at(stops))
        yield {"repeat": repeat, **how, **_over_the_path(stops, seconds, course.iterations, gradient)}


def _cost(project: Projection, course: Course, first: float, budget: float) -> float:
    """Seconds a projection takes: by the first, and by more where they are cheap, since the first may load things."""
    cost = first
    for pilots in _PILOTS:
        if pilots * cost < _PILOTS_SHARE * budget:
            cost = statistics.fmean(_seconds(project, course.at(spread(course.iterations, pilots))))
    return cost


def _over_the_path(stops: Sequence[int], seconds: Sequence[float], iterations: int, gradient: float) -> Measurement:
    mean = statistics.fmean(seconds)
    listed = ";".join(map(str, stops)) if len(stops) <= LISTED else "evenly spread"
    return {
        "measured": len(stops),
        "measured_at": "all" if len(stops) == iterations else listed,
        "extrapolated": len(stops) < iterations,
        "projection_seconds": mean,
        "seconds": gradient + mean * iterations,
    }


def _seconds(project: Projection, points: Iterator[PathPoint]) -> list[float]:
    """How long the projection of each point takes."""
    return [clock(functools.partial(project, point)).seconds for point in points]


def _projection(method: str) -> Projection:
    if method in ("csgraph", "label"):
        baseline = by_csgraph if method == "csgraph" else by_label
        return lambda at: baseline(at.u.numpy(), at.cut_h.numpy(), at.cut_v.numpy())
    name = "graph" if method == "graph_anew" else method
    return lambda at: project(at.u, at.cut_h, at.cut_v, method=name).numpy()
