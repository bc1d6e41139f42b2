"""How fast smoothing is, by threads, image size, batch, scheme and ν, each varied by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from harness.errors import UserError, unknown_name
from harness.progress import track
from harness.types import SMALL_IMAGE

from ..method import settings
from ..smoothing import smooth
from .images import Images
from .measurements import Measurements
from .peak import flops_per_pixel, peak_flops
from .timing import clock

COLUMNS = (
    *("images", "scheme", "nu", "level", "size", "channels", "batch", "threads", "repeat", "seconds", "iterations"),
    *("short", "images_per_second", "image_iterations_per_second", "flops_per_second", "peak_flops_per_second"),
    "share_of_peak",
)
MOST_REPEATS = 100


class Point(NamedTuple):
    """One setting to measure: `batch` images of size×size pixels, by a scheme at ν, on so many threads."""

    size: int
    batch: int
    threads: int
    scheme: str
    nu: float


class Sweeps(NamedTuple):
    """The values to vary.

    While another varies, size, scheme and ν keep the first of theirs, batch and threads the last.
    """

    sizes: Sequence[int]
    batches: Sequence[int]
    threads: Sequence[int]
    schemes: Sequence[str]
    nus: Sequence[float]
    level: float | None
    """Where to stop; None for 0.6 up to 64 pixels a side and 0.3 above."""
    seconds: float
    """For each point."""
    device: torch.device

    @property
    def base(self) -> Point:
        """Where the sweeps meet."""
        return Point(self.sizes[0], self.batches[-1], self.threads[-1], self.schemes[0], self.nus[0])

    def points(self) -> list[Point]:
        """Everything to measure, each once."""
        return list(
            dict.fromkeys([*self.over_threads(), *self.over_sizes(), *self.over_batches(), *self.over_schemes()])
        )

    def over_threads(self) -> list[Point]:
        """The base on so many threads each."""
        return [self.base._replace(threads=threads) for threads in self.threads]

    def over_sizes(self) -> list[Point]:
        """Images of each size, in batches of nearly equal numbers of pixels, with work for every thread."""
        base, pixels = self.base, self.base.batch * self.base.size**2
        return [
            base._replace(size=size, batch=max(1, pixels // size**2 // base.threads) * base.threads)
            if size != base.size
            else base
            for size in self.sizes
        ]

    def over_batches(self) -> list[Point]:
        """The base in batches of each size."""
        return [self.base._replace(batch=batch) for batch in self.batches]

    def over_schemes(self) -> list[Point]:
        """The base by each scheme at each ν."""
        return [self.base._replace(scheme=scheme, nu=nu) for scheme in self.schemes for nu in self.nus]


def check(sweeps: Sweeps) -> None:
    """Raises: UserError for anything that cannot be measured."""
    for option, least in (("sizes", 2), ("batches", 1), ("threads", 1)):
        values = getattr(sweeps, option)
        if min(values) < least:
            raise UserError(f"--{option} must be {least} or more, got {min(values)}.")
    for scheme in sweeps.schemes:
        if scheme not in settings.SCHEMES:
            raise unknown_name("scheme", scheme, settings.SCHEMES)
    for nu in sweeps.nus:
        settings.positive("--nu", nu)
    if sweeps.level is not None:
        settings.checked_level(sweeps.level, "--level")
    if not sweeps.seconds > 0:
        raise UserError(f"--seconds must be above 0, got {sweeps.seconds:g}.")


def measure(sweeps: Sweeps, images: Images, name: str, measurements: Measurements) -> None:
    """Measure every point, and record each call as it ends; `name` says where the images come from."""
    threads_before = torch.get_num_threads()
    peaks: dict[int, float] = {}
    try:
        for point in track(sweeps.points(), "smoothing"):
            torch.set_num_threads(point.threads)
            if point.threads not in peaks:
                peaks[point.threads] = peak_flops(sweeps.device, point.threads)
            _measure_point(point, sweeps, images, name, peaks[point.threads], measurements)
    finally:
        torch.set_num_threads(threads_before)


def _measure_point(
    point: Point, sweeps: Sweeps, images: Images, name: str, peak: float, measurements: Measurements
) -> None:
    batch = torch.from_numpy(images(point.batch, point.size)).to(sweeps.device)
    level = sweeps.level if sweeps.level is not None else 0.6 if point.size <= SMALL_IMAGE else 0.3
    shared = {"images": name, "level": level, "channels": batch.shape[1], **point._asdict()}
    operations = flops_per_pixel(batch.shape[1], point.scheme, point.size) * point.size**2
    for repeat, (seconds, iterations, short) in enumerate(_calls(point, batch, level, sweeps.seconds), 1):
        rate = iterations / seconds
        measurements.add(
            **shared,
            repeat=repeat,
            seconds=seconds,
            iterations=iterations,
            short=short,
            images_per_second=point.batch / seconds,
            image_iterations_per_second=rate,
            flops_per_second=operations * rate,
            peak_flops_per_second=peak,
            share_of_peak=operations * rate / peak,
        )


class Call(NamedTuple):
    """One call of `smooth`."""

    seconds: float
    iterations: int
    """Of all images together."""
    short: int
    """How many images did not reach the level."""


def _calls(point: Point, batch: torch.Tensor, level: float, budget: float) -> Iterator[Call]:
    """At least one call, after a short one that compiles, and more until the budget is spent."""
    scheme = settings.checked_scheme(point.scheme)
    smooth(batch[:1], iterations=1, scheme=scheme, nu=point.nu)
    spent = 0.0
    for _ in range(MOST_REPEATS):
        # The outcomes are NumPy arrays, so the call returns only when a GPU has ended its work.
        seconds, smoothed = clock(lambda: smooth(batch, level=level, scheme=scheme, nu=point.nu))
        yield Call(seconds, int(smoothed.iterations.sum()), int(np.sum(smoothed.outcome != "reached")))
        spent += seconds
        if spent + seconds > budget:
            return
