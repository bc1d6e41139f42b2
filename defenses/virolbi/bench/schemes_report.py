"""A table of how far the schemes are from the paper's, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from .measurements import Row
from .schemes import STRETCH, VARIANTS
from .sheet import BLANK, Sheet, digits

HEADER = ("scheme", "ν", "level", "mean", "worst image", "largest", "support", "iterations", "× as fast")


def make_sheet(rows: Sequence[Row]) -> Sheet:
    """A line per ν, level and scheme, the paper's first."""
    papers = {(row["nu"], row["level"]): row for row in rows if row["variant"] == VARIANTS[0]}
    ordered = sorted(rows, key=lambda row: (row["nu"], row["level"], VARIANTS.index(row["variant"])))
    return Sheet(
        name="schemes",
        title="How far the schemes are from the paper's, in grey levels of 255",
        caption=_caption(rows),
        header=HEADER,
        rows=[_line(row, papers[row["nu"], row["level"]]) for row in ordered],
    )


def _line(row: Row, paper: Row) -> list[str]:
    return [
        row["variant"],
        *(f"{row['nu']:g}", f"{row['level']:g}"),
        *([BLANK] * 4 if row is paper or not row["reached"] else _deviations(row)),
        digits(row["iterations"]),
        digits(row["images_per_second"] / paper["images_per_second"]),
    ]


def _deviations(row: Row) -> list[str]:
    return [
        f"{row['mean_difference']:.3f}",
        f"{row['worst_image_difference']:.2f}",
        f"{row['largest_difference']:.1f}",
        f"{row['common_support']:.4f}",
    ]


def _caption(rows: Sequence[Row]) -> list[str]:
    about = rows[0]
    shape = f"{about['size']}×{about['size']}×{about['channels']}"
    threads = f"{about['threads']} thread{'s' if about['threads'] > 1 else ''}"
    short = max(row["count"] - row["reached"] for row in rows)
    left_out = f"Images that could not reach a level are left out there, up to {short} of {about['count']}."
    return [
        f"Images: {about['images']}, {about['count']} of {shape}; κ = {about['kappa']:g}.",
        "Absolute difference from “paper” at the same ν and level: its mean over all pixels, that of the worst image, "
        "and the largest of a pixel; support: the share of edges in either support that are in both, mean over images.",
        f"“{VARIANTS[-1]}”: the paper's scheme with steps {STRETCH:g} times as long.",
        f"iterations: mean from the beginning to the level; × as fast: images a second beside “paper”, by one run. "
        f"{about['device']}, {threads}, {about['run'][:10]}.",
        *([left_out] if short else []),
    ]
