"""Table 7: iterations on a gray image with a projection in every one, by several methods on one machine."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from harness.errors import UserError, unknown_name
from harness.progress import track

from ..method.settings import make_settings
from ..projection import project
from ..smoothing import smooth
from .baselines import by_csgraph, by_label
from .images import gray_picture
from .measurements import Ledger, Row
from .projected_path import project_along, walk
from .timing import clock, plan, repeatedly, spread

WHOLE = ("gradient", "graph")
"""Measured as a whole: the iterations without a projection, and ours, which relabels where the support has changed."""
METHODS = (*WHOLE, "graph_anew", "label", "csgraph", "lsqr", "qr", "svd")
COLUMNS = (
    *("method", "image", "size", "iterations", "scheme", "nu", "kappa", "threads", "repeat", "measured"),
    *("measured_at", "extrapolated", "projection_seconds", "gradient_seconds", "seconds", "deviation"),
)
_PILOTS = (3, 50)
_PILOTS_SHARE = 0.2
"""Of the budget may go to finding out how long a projection takes."""
LISTED = 16
"""Up to so many measured iterations are named one by one."""
_SCALING_SHARE = 0.1
"""Of the budget goes to a method at each of the sizes that only the plot shows."""

Projection = Callable[[Any], np.ndarray]
"""From an iterate of a path to its projection [1,H,W]."""


class Setup(NamedTuple):
    """What to measure: methods, pixels a side, iterations, at most how many repeats, and seconds for each method.

    scaling: sizes that are measured more briefly, for the plot · picture: a file, None for the astronaut
    """

    methods: Sequence[str]
    size: int
    iterations: int
    repeats: int
    budget: float
    scaling: Sequence[int] = ()
    picture: Path | None = None
    threads: int = 1


class Course(NamedTuple):
    """The path along which is measured: an image [1,H,W] and its name, the paper's settings, how many iterations."""

    image: torch.Tensor
    name: str
    settings: Any
    iterations: int

    def at(self, stops: Sequence[int]) -> Iterator[Any]:
        """Where the path stands after these numbers of iterations."""
        iterates: Iterator[Any] = walk(self.image, self.settings, stops)
        return iterates


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


def measure(setup: Setup, ledger: Ledger) -> None:
    """Measure small images before the one asked for, quick methods before slow ones; each repeat is noted at once."""
    torch.set_num_threads(setup.threads)
    smaller = setup._replace(budget=_SCALING_SHARE * setup.budget)
    for size in setup.scaling:
        _measure_size(smaller._replace(size=size), ledger)
    _measure_size(setup, ledger)


def _measure_size(setup: Setup, ledger: Ledger) -> None:
    course = _open(setup)
    numbers = {"scheme": course.settings.scheme, "nu": course.settings.nu, "kappa": course.settings.kappa}
    about = {"image": course.name, "size": setup.size, "iterations": setup.iterations, "threads": setup.threads}
    gradient: list[float] = []
    for method in track(
        [name for name in METHODS if name in {"gradient", *setup.methods}], f"{setup.size}×{setup.size}"
    ):
        rows = _whole(method, course, setup) if method in WHOLE else _extrapolated(method, course, setup, min(gradient))
        for row in rows:
            if method == "gradient":
                gradient.append(row["seconds"])
            if method in setup.methods:
                ledger.add(method=method, **about, **numbers, **row)


def _open(setup: Setup) -> Course:
    """The path of the picture at that size, with its kernels compiled."""
    image, name = gray_picture(setup.picture, setup.size)
    settings = make_settings(setup.size, setup.size, kappa=5.0, nu=1.0, step=None)
    course = Course(torch.from_numpy(image), name, settings, setup.iterations)
    for method in WHOLE:
        if method in ("gradient", *setup.methods):
            _run(method, course._replace(iterations=1))
    return course


def _whole(method: str, course: Course, setup: Setup) -> Iterator[Row]:
    """A row for every time the whole path was run through."""
    for repeat, seconds in enumerate(repeatedly(lambda: _run(method, course), setup.budget, setup.repeats), 1):
        how = {"repeat": repeat, "measured": course.iterations, "measured_at": "all", "extrapolated": False}
        yield {**how, "seconds": seconds}


def _run(method: str, course: Course) -> None:
    if method == "gradient":
        smooth(course.image, iterations=course.iterations)
    else:
        project_along(course.image, course.settings, course.iterations)


def _extrapolated(method: str, course: Course, setup: Setup, gradient: float) -> Iterator[Row]:
    """A row per repeat: what the whole path takes by projections at iterations spread over it, or in all of them.

    One projection comes first. Where that alone takes all the time that there is for the method, it is the
    measurement. gradient: seconds of the path without projections.
    """
    project = _projection(method)
    (middle,) = spread(course.iterations, 1)
    iterate = next(course.at([middle]))
    first, projected = clock(functools.partial(project, iterate))
    how = {"gradient_seconds": gradient, "deviation": _deviation(projected, iterate)}
    if first >= setup.budget:
        yield {"repeat": 1, **how, **_over_the_path([middle], [first], course.iterations, gradient)}
        return
    cost = _cost(project, course, first, setup.budget)
    repeats, measured = plan(cost, course.iterations, setup.budget, setup.repeats)
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


def _over_the_path(stops: Sequence[int], seconds: Sequence[float], iterations: int, gradient: float) -> Row:
    mean = statistics.fmean(seconds)
    listed = ";".join(map(str, stops)) if len(stops) <= LISTED else "evenly spread"
    return {
        "measured": len(stops),
        "measured_at": "all" if len(stops) == iterations else listed,
        "extrapolated": len(stops) < iterations,
        "projection_seconds": mean,
        "seconds": gradient + mean * iterations,
    }


def _seconds(project: Projection, iterates: Iterator[Any]) -> list[float]:
    """How long the projection of each iterate takes."""
    return [clock(functools.partial(project, iterate)).seconds for iterate in iterates]


def _projection(method: str) -> Projection:
    if method in ("csgraph", "label"):
        rival = by_csgraph if method == "csgraph" else by_label
        return lambda at: rival(at.u.numpy(), at.cut_h.numpy(), at.cut_v.numpy())
    name = "graph" if method == "graph_anew" else method
    return lambda at: project(at.u, at.cut_h, at.cut_v, method=name).numpy()


def _deviation(projected: np.ndarray, iterate: Any) -> float:
    """The largest difference from our projection."""
    return float(np.abs(projected - _projection("graph_anew")(iterate)).max())
