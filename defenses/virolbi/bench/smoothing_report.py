"""A table and plots of how fast smoothing is, from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from reports.formats.numbers import digits
from reports.tables.engine.base import Column, Row, Table

from .measurements import Measurement
from .plot import Line, Panel, draw_panels
from .smoothing import Point, Sweeps
from .table import COLUMN_HEADER, text_row

COLUMNS = (
    Column("a second", "images"),
    Column("a second", "iterations"),
    Column("an image", "iterations"),
    Column("of peak", "flops"),
)


def make_table(measurements: Sequence[Measurement], sweeps: Sweeps) -> Table:
    """A row per point, by its fastest call."""
    return Table(
        name="bench-smoothing",
        title=f"Smoothing {_levels(measurements)}",
        caption=tuple(_caption(measurements, sweeps)),
        row_header=("scheme", "pixels", "batch", "threads"),
        column_header=COLUMN_HEADER,
        columns=COLUMNS,
        rows=tuple(_row(fastest(calls)) for calls in _by_point(measurements, sweeps.points()).values()),
    )


def draw(measurements: Sequence[Measurement], sweeps: Sweeps, folder: Path) -> list[Path]:
    """Speed over size, batch, threads and ν as `smoothing` in the folder, without what was not varied.

    Returns the files written.
    """
    base = sweeps.base
    best = {point: fastest(calls) for point, calls in _by_point(measurements, sweeps.points()).items()}

    def line(name: str, points: Sequence[Point], x: Callable[[Point], float], y: str) -> Line:
        measured = sorted((point for point in points if point in best), key=x)
        return Line(name, [x(point) for point in measured], [best[point][y] for point in measured])

    per_iteration, per_image = "image_iterations_per_second", "images_per_second"
    by_size = [line("", sweeps.over_sizes(), lambda point: point.size, per_iteration)]
    by_batch = [line("", sweeps.over_batches(), lambda point: point.batch, per_image)]
    by_threads = [line("measured", sweeps.over_threads(), lambda point: point.threads, per_image)]
    by_nu = [
        line(scheme, [base._replace(scheme=scheme, nu=nu) for nu in sweeps.nus], lambda point: point.nu, per_image)
        for scheme in sweeps.schemes
    ]
    what = f"{base.size}×{base.size}, {base.scheme}, ν = {base.nu:g}"
    panels = [
        Panel(f"image size ({base.scheme}, ν = {base.nu:g})", "pixels a side", "image-iterations per second", by_size),
        Panel(f"batch ({what})", "images at a time", "images per second", by_batch),
        Panel(f"threads ({what})", "threads", "images per second", [*by_threads, *_ideal(by_threads[0])]),
        Panel(f"scheme and ν ({base.size}×{base.size})", "ν", "images per second", by_nu),
    ]
    varied = [panel for panel in panels if max((len(each.x) for each in panel.lines), default=0) > 1]
    return draw_panels(varied or panels[:1], folder / "smoothing")


def fastest(calls: Sequence[Measurement]) -> Measurement:
    """The call that other processes slowed least."""
    return min(calls, key=lambda call: call["seconds"])


def _by_point(measurements: Sequence[Measurement], points: Sequence[Point]) -> dict[Point, list[Measurement]]:
    calls: dict[Point, list[Measurement]] = {point: [] for point in points}
    for each in measurements:
        calls[Point(*(each[name] for name in Point._fields))].append(each)
    return {point: members for point, members in calls.items() if members}


def _ideal(line: Line) -> list[Line]:
    """The speed in proportion to the number of threads."""
    if len(line.x) < 2:
        return []
    return [Line("in proportion", line.x, [line.y[0] * x / line.x[0] for x in line.x], guide=True)]


def _row(call: Measurement) -> Row:
    return text_row(
        [
            f"{call['scheme']}, ν={call['nu']:g}",
            f"{call['size']}×{call['size']}×{call['channels']}",
            f"{call['batch']:,}",
            f"{call['threads']}",
        ],
        [
            digits(call["images_per_second"]),
            digits(call["image_iterations_per_second"]),
            digits(call["iterations"] / call["batch"]),
            f"{100 * call['share_of_peak']:.1f} %",
        ],
    )


def _levels(measurements: Sequence[Measurement]) -> str:
    """ "to level 0.6 (up to 64 pixels a side), 0.3 (up to 224 pixels a side)"."""
    largest = {each["level"]: each["size"] for each in sorted(measurements, key=lambda each: each["size"])}
    if len(largest) == 1:
        return f"to level {next(iter(largest)):g}"
    return "to level " + ", ".join(f"{level:g} (up to {size} pixels a side)" for level, size in largest.items())


def _caption(measurements: Sequence[Measurement], sweeps: Sweeps) -> list[str]:
    if not measurements:
        return ["Nothing was measured."]
    first = measurements[0]
    peaks = {each["threads"]: each["peak_flops_per_second"] for each in measurements}
    gpu = "product of two 4096×4096 matrices, no TF32"
    cpu = "fused multiply-adds on numbers in the innermost cache"
    on_gpu = sweeps.device.type == "cuda"
    short = sum(each["short"] for each in measurements if each["repeat"] == 1)
    listed = ", ".join(f"{digits(peak / 1e9)} on {threads}" for threads, peak in sorted(peaks.items()))
    return [
        f"Images: {first['images']}. {first['device']}, {first['run'][:10]}. The fastest of several calls.",
        "iterations a second: those of all images together.",
        f"Peak: float32 {gpu if on_gpu else cpu}, in Gflop/s {listed} thread{'s' if set(peaks) != {1} else ''}.",
        "An iteration's flops are counted in defenses/virolbi/bench/peak.py.",
        *([f"{short} images could not reach their level."] if short else []),
    ]
