"""Table 7 and its plot from what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.records.exhibits import Exhibit, save_exhibit
from reports.paper.projection_seconds import paper_seconds

from .measurements import Row
from .plot import Line, Mark, Panel, draw_scaling
from .projection import LISTED, METHODS, WHOLE, Setup
from .sheet import BLANK, Sheet, digits, short_time
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
_PAPERS = (84, 15_000)
"""Pixels a side and iterations of the paper's seconds."""
_SINGLE = 6e-8
"""The rounding of the pixels themselves."""
HEADER = ("projection", "seconds", "× ours", "for one", "measured", "paper, s")


def make_sheet(rows: Sequence[Row], setup: Setup) -> Sheet:
    """The table of the size asked for."""
    chosen = _by_method(rows, setup.size)
    of_the_paper = " (Table 7 of the paper)" if _is_papers(setup) else ""
    ours = summarize(_column(chosen["graph"], "seconds")).mean if "graph" in chosen else None
    return Sheet(
        name="projection",
        title=f"{setup.iterations:,} iterations, {setup.size}×{setup.size} gray image{of_the_paper}",
        caption=_caption(chosen, setup),
        header=HEADER,
        rows=[_line(method, found, ours, setup) for method, found in chosen.items()],
    )


def draw(rows: Sequence[Row], setup: Setup, folder: Path) -> list[Path]:
    """Seconds over the number of pixels, by method, as PNG and PDF."""
    sizes = sorted({row["size"] for row in rows})
    found = {size: _by_method(rows, size) for size in sizes}
    lines = [
        Line(
            NAMES[method],
            [size**2 for size in sizes if method in found[size]],
            [summarize(_column(found[size][method], "seconds")).mean for size in sizes if method in found[size]],
        )
        for method in METHODS
        if any(method in found[size] for size in sizes)
    ]
    papers = paper_seconds() if setup.iterations == _PAPERS[1] else {}
    marks = [
        Mark(f"paper: {NAMES[method].split(' (')[0]}", _PAPERS[0] ** 2, each.mean) for method, each in papers.items()
    ]
    panel = Panel(_where(rows, setup), "pixels", f"seconds for {setup.iterations:,} iterations", lines, _square)
    return draw_scaling(panel, marks, folder / "projection")


def keep(rows: Sequence[Row], setup: Setup, folder: Path) -> list[Path]:
    """Keep the seconds of the size asked for where `report` finds them, in FOLDER/exhibits/projection.npz.

    arrays: by method the seconds of each repeat, [R] float64 · about: what they were measured on.
    """
    chosen = _by_method(rows, setup.size)
    if not chosen:
        return []
    seconds = {method: np.array(_column(found, "seconds"), dtype=np.float64) for method, found in chosen.items()}
    shared = ("image", "size", "iterations", "nu", "kappa", "threads", "device", "run", "command")
    about = {name: rows[-1][name] for name in shared} | {"size": setup.size}
    measured = {method: found[0]["measured"] for method, found in chosen.items()}
    return [save_exhibit(folder, Exhibit("projection", seconds, {**about, "measured": measured}))]


def _is_papers(setup: Setup) -> bool:
    return (setup.size, setup.iterations) == _PAPERS


def _where(rows: Sequence[Row], setup: Setup) -> str:
    return f"{rows[0]['image']}, {rows[0]['device']}, {_threads(setup)}"


def _threads(setup: Setup) -> str:
    return f"{setup.threads} thread{'s' if setup.threads > 1 else ''}"


def _square(pixels: float) -> str:
    return f"{math.isqrt(int(pixels))}²"


def _by_method(rows: Sequence[Row], size: int) -> dict[str, list[Row]]:
    """The rows of each method at that size, in the order of `METHODS`."""
    found = {method: [row for row in rows if (row["method"], row["size"]) == (method, size)] for method in METHODS}
    return {method: members for method, members in found.items() if members}


def _column(rows: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in rows]


def _line(method: str, rows: Sequence[Row], ours: float | None, setup: Setup) -> list[str]:
    mean, std = summarize(_column(rows, "seconds"))
    paper = paper_seconds()
    comparable = method in paper and _is_papers(setup)
    return [
        NAMES[method],
        digits(mean) + ("" if std is None else f" ± {digits(std, 2)}"),
        BLANK if ours is None else f"{digits(mean / ours)}",
        BLANK if method in WHOLE else short_time(summarize(_column(rows, "projection_seconds")).mean),
        _extent(rows, setup),
        f"{paper[method].mean:g} ± {paper[method].std:g}" if comparable else BLANK,
    ]


def _extent(rows: Sequence[Row], setup: Setup) -> str:
    """In how many iterations a projection was measured, and how often."""
    measured = rows[0]["measured"]
    return f"{'all' if measured == setup.iterations else f'{measured:,}'} ×{len(rows)}"


def _caption(chosen: dict[str, list[Row]], setup: Setup) -> list[str]:
    rows = [row for members in chosen.values() for row in members]
    if not rows:
        return ["Nothing was measured."]
    about = rows[0]
    deviations = [row["deviation"] for row in rows if row.get("deviation") is not None]
    return [
        f"Image: {about['image']}; paper's step, ν = {about['nu']:g}, κ = {about['kappa']:g}, from a black image.",
        f"{about['device']}, {_threads(setup)}, {about['run'][:10]}; mean ± standard deviation over repeats.",
        *_extrapolation(chosen),
        *([f"The projections agree to {max(*deviations, _SINGLE):.0e}."] if deviations else []),
        "“graph (ours)” finds components anew only where the support has changed; “anew” as all others in every one.",
        *(["paper: arXiv 2409.18419, another machine."] if _is_papers(setup) else []),
    ]


def _extrapolation(chosen: dict[str, list[Row]]) -> list[str]:
    """What was not measured in full, and from where it was extrapolated."""
    cut = {method: rows for method, rows in chosen.items() if rows[0]["extrapolated"]}
    if not cut:
        return ["Every projection of the path was timed; the gradient steps' time is added."]
    places = "; ".join(f"{NAMES[method]} from {_places(rows)}" for method, rows in cut.items())
    return [
        f"Extrapolated to {next(iter(cut.values()))[0]['iterations']:,} iterations: {places}.",
        "The cost depends on the support: the iterations measured are spread evenly over the path, others in each "
        "repeat, so that ± includes how much their choice matters.",
    ]


def _places(rows: Sequence[Row]) -> str:
    """ "iteration 7501 alone", "3 iterations (2501, 7501, 12501)" or "412 iterations"; of all repeats together."""
    count = sum(row["measured"] for row in rows)
    if count > LISTED:
        return f"{count:,} iterations"
    stops = sorted(int(stop) for row in rows for stop in str(row["measured_at"]).split(";"))
    return f"iteration {stops[0]} alone" if count == 1 else f"{count} iterations ({', '.join(map(str, stops))})"
