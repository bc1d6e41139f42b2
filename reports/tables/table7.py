"""Table 7: how long the projection takes, as `bench projection` measured it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.records.exhibits import Exhibit
from harness.registry import tables

from ..collect.cells import Cells
from ..paper.projection_seconds import PaperSeconds, paper_seconds
from .engine.base import Column, Finding, Row, Table

EXHIBIT = "projection"
"""Of this name `bench projection` keeps its last measurements: by method the seconds of each repeat, [R] float."""
OURS = "graph"
_PAPERS = (84, 15_000)
"""Pixels a side and iterations of the paper's seconds."""


@tables.register("table7")
class ProjectionSeconds:
    """Table 7: seconds of the iteration with each projection method, from `bench projection`."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None where no folder reported on holds these measurements."""
        measured = cells.exhibits.get(EXHIBIT)
        if measured is None:
            return None
        image = f"{measured.metadata['size']}×{measured.metadata['size']} gray"
        return Table(
            name="table7",
            title=f"{measured.metadata['iterations']:,} iterations, a projection in each{_whose(measured.metadata)}",
            caption=tuple(_caption(measured)),
            row_header=("measure",),
            column_header=("image", "projection"),
            columns=tuple(Column(image, method) for method in measured.arrays),
            rows=tuple(_rows(measured)),
        )


def _rows(measured: Exhibit) -> list[Row]:
    papers = paper_seconds() if _is_papers(measured.metadata) else {}
    ours = float(measured.arrays[OURS].mean()) if OURS in measured.arrays else None
    rows = [Row(("seconds",), tuple(_seconds(measured, method) for method in measured.arrays))]
    if ours is not None:
        rows.append(Row(("times graph's",), tuple(_ratio(times, ours) for times in measured.arrays.values())))
    if papers:
        rows.append(Row(("paper, seconds",), tuple(_paper(papers.get(method)) for method in measured.arrays)))
    return rows


def _seconds(measured: Exhibit, method: str) -> Finding:
    times = measured.arrays[method]
    iterations = measured.metadata["measured"][method]
    all_of_them = iterations == measured.metadata["iterations"]
    how = "all iterations" if all_of_them else f"extrapolated from {iterations:,}"
    spread = f" ± {_digits(times.std(ddof=1), 2)}" if len(times) > 1 else ""
    return Finding(verdict=f"{_digits(times.mean())}{spread}", evidence=f"{how} ×{len(times)}")


def _ratio(times: np.ndarray, ours: float) -> Finding:
    return Finding(verdict=_digits(times.mean() / ours), evidence="")


def _paper(seconds: PaperSeconds | None) -> Finding | None:
    return seconds and Finding(verdict=f"{seconds.mean:g} ± {seconds.std:g}", evidence="another machine")


def _is_papers(about: Mapping[str, Any]) -> bool:
    return (about["size"], about["iterations"]) == _PAPERS


def _whose(about: Mapping[str, Any]) -> str:
    return " (Table 7 of the paper)" if _is_papers(about) else ""


def _caption(measured: Exhibit) -> list[str]:
    about = measured.metadata
    return [
        f"Image: {about['image']}; ν = {about['nu']:g}, κ = {about['kappa']:g}. “gradient”: the iteration without a "
        "projection; “graph”: ours, which finds components anew only where the support has changed.",
        f"Hardware: {about['device']}, {about['threads']} thread{'s' if about['threads'] > 1 else ''}; "
        f"{about['run'][:10]}; mean ± standard deviation over repeats.",
        "Extrapolated: from projections at iterations spread evenly over the path, and the time of the gradient steps.",
        *(
            ["“paper”: arXiv 2409.18419, on another machine, so that ratios compare rather than seconds."]
            if _is_papers(about)
            else []
        ),
    ]


def _digits(number: float, count: int = 3) -> str:
    """A number to so many significant digits."""
    rounded = float(f"{number:.{count}g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{number:.{count}g}"
