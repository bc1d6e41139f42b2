"""Table 7 and its plot from what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.records.exhibits import Exhibit, save_exhibit
from reports.formats.numbers import digits, short_time
from reports.paper import projection_seconds as paper
from reports.tables.engine.base import Column, Row, Table

from .measurements import Measurement
from .plot import Line, Mark, Panel, draw_scaling
from .projection import LISTED, METHODS, WHOLE, Setup
from .table import COLUMN_HEADER, text_row
from .timing import summarize

NAMES = {
    "gradient": "none (gradient)",
    "graph": "graph (ours)",
    "graph_anew": "graph, anew",
    "label": "skimage label",
    "csgraph": "SciPy csgraph",
    "lsqr": "LSQR",
    "qr": "QR",
    "svd": "SVD",
}
COLUMNS = (
    Column("path", "seconds"),
    Column("path", "× ours"),
    Column("projection", "for one"),
    Column("measured", "iterations"),
    Column("paper", "seconds"),
)
_SINGLE = 6e-8
"""The rounding of the pixels themselves."""
_EXHIBITED = ("image", "iterations", "nu", "kappa", "threads", "device", "run", "command")
"""Columns that describe the exhibit's measurements."""


def make_table(measurements: Sequence[Measurement], setup: Setup) -> Table:
    """The table of the size asked for, a row per method."""
    by_method = _by_method(measurements, setup.size)
    ours = summarize(_column(by_method["graph"], "seconds")).mean if "graph" in by_method else None
    suffix = " (Table 7 of the paper)" if _is_papers(setup) else ""
    return Table(
        name="bench-projection",
        title=f"{setup.iterations:,} iterations, {setup.size}×{setup.size} gray image{suffix}",
        caption=tuple(_caption(by_method, setup)),
        row_header=("projection",),
        column_header=COLUMN_HEADER,
        columns=COLUMNS,
        rows=tuple(_row(method, repeats, ours, setup) for method, repeats in by_method.items()),
    )


def draw(measurements: Sequence[Measurement], setup: Setup, folder: Path) -> list[Path]:
    """Seconds over the number of pixels, by method, as `projection` in the folder; returns the files written."""
    sizes = sorted({each["size"] for each in measurements})
    by_size = {size: _by_method(measurements, size) for size in sizes}
    lines = []
    for method in METHODS:
        timed = [size for size in sizes if method in by_size[size]]
        if timed:
            seconds = [summarize(_column(by_size[size][method], "seconds")).mean for size in timed]
            lines.append(Line(NAMES[method], [size**2 for size in timed], seconds))
    papers = paper.paper_seconds() if setup.iterations == paper.ITERATIONS else {}
    marks = [
        Mark(f"paper: {NAMES[method].split(' (')[0]}", paper.SIZE**2, each.mean) for method, each in papers.items()
    ]
    first = measurements[0]
    title = f"{first['image']}, {first['device']}, {_threads(setup)}"
    panel = Panel(
        title,
        "pixels",
        f"seconds for {setup.iterations:,} iterations",
        lines,
        lambda pixels: f"{math.isqrt(int(pixels))}²",
    )
    return draw_scaling(panel, marks, folder / "projection")


def keep(measurements: Sequence[Measurement], setup: Setup, folder: Path) -> list[Path]:
    """Keep the seconds of the size asked for where `report` reads them, in FOLDER/exhibits/projection.npz.

    Its arrays are the seconds of each repeat by method, [R] float64.
    """
    by_method = _by_method(measurements, setup.size)
    if not by_method:
        return []
    seconds = {method: np.array(_column(repeats, "seconds"), np.float64) for method, repeats in by_method.items()}
    metadata = {
        **{name: measurements[-1][name] for name in _EXHIBITED},
        "size": setup.size,
        "measured": {method: repeats[0]["measured"] for method, repeats in by_method.items()},
    }
    return [save_exhibit(folder, Exhibit("projection", seconds, metadata))]


def _is_papers(setup: Setup) -> bool:
    return (setup.size, setup.iterations) == (paper.SIZE, paper.ITERATIONS)


def _threads(setup: Setup) -> str:
    return f"{setup.threads} thread{'s' if setup.threads > 1 else ''}"


def _by_method(measurements: Sequence[Measurement], size: int) -> dict[str, list[Measurement]]:
    """The repeats of each method at that size, in the order of `METHODS`."""
    at_size = [each for each in measurements if each["size"] == size]
    by_method = {method: [each for each in at_size if each["method"] == method] for method in METHODS}
    return {method: repeats for method, repeats in by_method.items() if repeats}


def _column(measurements: Sequence[Measurement], name: str) -> list[float]:
    return [each[name] for each in measurements]


def _row(method: str, repeats: Sequence[Measurement], ours: float | None, setup: Setup) -> Row:
    mean, std = summarize(_column(repeats, "seconds"))
    papers = paper.paper_seconds().get(method) if _is_papers(setup) else None
    measured = repeats[0]["measured"]
    return text_row(
        [NAMES[method]],
        [
            digits(mean) + ("" if std is None else f" ± {digits(std, 2)}"),
            None if ours is None else digits(mean / ours),
            None if method in WHOLE else short_time(summarize(_column(repeats, "projection_seconds")).mean),
            f"{'all' if measured == setup.iterations else f'{measured:,}'} ×{len(repeats)}",
            None if papers is None else f"{papers.mean:g} ± {papers.std:g}",
        ],
    )


def _caption(by_method: Mapping[str, Sequence[Measurement]], setup: Setup) -> list[str]:
    measurements = [each for repeats in by_method.values() for each in repeats]
    if not measurements:
        return ["Nothing was measured."]
    first = measurements[0]
    deviations = [each["deviation"] for each in measurements if each.get("deviation") is not None]
    return [
        f"Image: {first['image']}; paper's step, ν = {first['nu']:g}, κ = {first['kappa']:g}, from a black image.",
        f"{first['device']}, {_threads(setup)}, {first['run'][:10]}; mean ± standard deviation over repeats.",
        *_extrapolation(by_method),
        *([f"The projections agree to {max(*deviations, _SINGLE):.0e}."] if deviations else []),
        "“graph (ours)” computes components only where the support has changed; all others do in every iteration.",
        *(["paper: arXiv 2409.18419, another machine."] if _is_papers(setup) else []),
    ]


def _extrapolation(by_method: Mapping[str, Sequence[Measurement]]) -> list[str]:
    """Which methods were extrapolated, and from which iterations."""
    partial = {method: repeats for method, repeats in by_method.items() if repeats[0]["extrapolated"]}
    if not partial:
        return ["Every projection of the path was timed; the gradient steps' time is added."]
    places = "; ".join(f"{NAMES[method]} from {_places(repeats)}" for method, repeats in partial.items())
    return [
        f"Extrapolated to {next(iter(partial.values()))[0]['iterations']:,} iterations: {places}.",
        "The cost depends on the support. So the measured iterations are spread evenly over the path, others in each "
        "repeat, and ± includes how much their choice matters.",
    ]


def _places(repeats: Sequence[Measurement]) -> str:
    """The iterations measured in all repeats: one alone, a list of them, or their number where they are many."""
    count = sum(each["measured"] for each in repeats)
    if count > LISTED:
        return f"{count:,} iterations"
    stops = sorted(int(stop) for each in repeats for stop in str(each["measured_at"]).split(";"))
    return f"iteration {stops[0]} alone" if count == 1 else f"{count} iterations ({', '.join(map(str, stops))})"
