"""A table and plots of how fast smoothing is, from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .measurements import Row
from .plot import Line, Panel, draw_panels
from .sheet import Sheet, digits
from .smoothing import Point, Sweeps

HEADER = ("scheme", "pixels", "batch", "threads", "images/s", "iterations/s", "per image", "of peak")


def make_sheet(rows: Sequence[Row], sweeps: Sweeps) -> Sheet:
    """A line per point, by its fastest call."""
    return Sheet(
        name="smoothing",
        title=f"Smoothing {_levels(rows)}",
        caption=_caption(rows, sweeps),
        header=HEADER,
        rows=[_line(found) for found in _by_point(rows, sweeps.points()).values()],
    )


def draw(rows: Sequence[Row], sweeps: Sweeps, folder: Path) -> list[Path]:
    """Speed over size, batch, threads and ν, as PNG and PDF; what was not varied is left out."""
    base = sweeps.base
    found = {point: fastest(members) for point, members in _by_point(rows, sweeps.points()).items()}

    def line(name: str, points: Sequence[Point], x: Callable[[Point], float], y: str) -> Line:
        there = sorted((point for point in points if point in found), key=x)
        return Line(name, [x(point) for point in there], [found[point][y] for point in there])

    per_iteration, per_image = "image_iterations_per_second", "images_per_second"
    by_size = [line("", sweeps.over_sizes(), lambda point: point.size, per_iteration)]
    by_batch = [line("", sweeps.over_batches(), lambda point: point.batch, per_image)]
    by_threads = [line("measured", sweeps.over_threads(), lambda point: point.threads, per_image)]
    by_nu = [
        line(scheme, [base._replace(scheme=scheme, nu=nu) for nu in sweeps.nus], lambda at: at.nu, per_image)
        for scheme in sweeps.schemes
    ]
    panels = [
        Panel(f"image size ({base.scheme}, ν = {base.nu:g})", "pixels a side", "image-iterations per second", by_size),
        Panel(f"batch ({_what(base)})", "images at a time", "images per second", by_batch),
        Panel(f"threads ({_what(base)})", "threads", "images per second", [*by_threads, *_ideal(by_threads[0])]),
        Panel(f"scheme and ν ({base.size}×{base.size})", "ν", "images per second", by_nu),
    ]
    varied = [panel for panel in panels if max((len(each.x) for each in panel.lines), default=0) > 1]
    return draw_panels(varied or panels[:1], folder / "smoothing")


def fastest(rows: Sequence[Row]) -> Row:
    """The call that was disturbed least."""
    return min(rows, key=lambda row: row["seconds"])


def _by_point(rows: Sequence[Row], points: Sequence[Point]) -> dict[Point, list[Row]]:
    found: dict[Point, list[Row]] = {point: [] for point in points}
    for row in rows:
        found[Point(*(row[name] for name in Point._fields))].append(row)
    return {point: members for point, members in found.items() if members}


def _what(point: Point) -> str:
    return f"{point.size}×{point.size}, {point.scheme}, ν = {point.nu:g}"


def _ideal(line: Line) -> list[Line]:
    """What as many threads would do if none were in another's way."""
    if len(line.x) < 2:
        return []
    return [Line("in proportion", line.x, [line.y[0] * x / line.x[0] for x in line.x], guide=True)]


def _line(rows: Sequence[Row]) -> list[str]:
    row = fastest(rows)
    return [
        f"{row['scheme']}, ν={row['nu']:g}",
        f"{row['size']}×{row['size']}×{row['channels']}",
        *(f"{row['batch']:,}", f"{row['threads']}"),
        *(digits(row["images_per_second"]), digits(row["image_iterations_per_second"])),
        digits(row["iterations"] / row["batch"]),
        f"{100 * row['share_of_peak']:.1f} %",
    ]


def _levels(rows: Sequence[Row]) -> str:
    """ "to level 0.6 (up to 64 pixels a side), 0.3 (up to 224)"."""
    largest = {row["level"]: row["size"] for row in sorted(rows, key=lambda row: row["size"])}
    if len(largest) == 1:
        return f"to level {next(iter(largest)):g}"
    return "to level " + ", ".join(f"{level:g} (up to {size} pixels a side)" for level, size in largest.items())


def _caption(rows: Sequence[Row], sweeps: Sweeps) -> list[str]:
    if not rows:
        return ["Nothing was measured."]
    about = rows[0]
    peaks = {row["threads"]: row["peak_flops_per_second"] for row in rows}
    gpu = "product of two 4096×4096 matrices, no TF32"
    cpu = "fused multiply-adds on numbers in the innermost cache"
    on_gpu = sweeps.device.type == "cuda"
    short = sum(row["short"] for row in rows if row["repeat"] == 1)
    listed = ", ".join(f"{digits(peak / 1e9)} on {threads}" for threads, peak in sorted(peaks.items()))
    return [
        f"Images: {about['images']}. {about['device']}, {about['run'][:10]}. The fastest of several calls.",
        "iterations/s: those of all images together.",
        f"Peak: float32 {gpu if on_gpu else cpu}, in Gflop/s {listed} thread{'s' if set(peaks) != {1} else ''}.",
        "An iteration's flops are counted in harness/bench/peak.py.",
        *([f"{short} images could not reach their level."] if short else []),
    ]
