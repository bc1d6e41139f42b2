"""A table of how far the schemes' images are from the paper's, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from reports.formats.numbers import digits
from reports.tables.engine.base import Column, Row, Table

from .measurements import Measurement
from .schemes import STRETCH, VARIANTS
from .table import COLUMN_HEADER, text_row

COLUMNS = (
    Column("off by", "mean"),
    Column("off by", "worst image"),
    Column("off by", "largest"),
    Column("support", "in common"),
    Column("cost", "iterations"),
    Column("cost", "× as fast"),
)


def make_table(measurements: Sequence[Measurement]) -> Table:
    """A row per ν, level and scheme, the paper's first."""
    papers = {(each["nu"], each["level"]): each for each in measurements if each["variant"] == VARIANTS[0]}
    ordered = sorted(measurements, key=lambda each: (each["nu"], each["level"], VARIANTS.index(each["variant"])))
    return Table(
        name="bench-schemes",
        title="How far the schemes are from the paper's, in grey levels of 255",
        caption=tuple(_caption(measurements)),
        row_header=("ν", "level", "scheme"),
        column_header=COLUMN_HEADER,
        columns=COLUMNS,
        rows=tuple(_row(each, papers[each["nu"], each["level"]]) for each in ordered),
    )


def _row(measurement: Measurement, paper: Measurement) -> Row:
    incomparable = measurement is paper or not measurement["reached"]
    return text_row(
        [f"{measurement['nu']:g}", f"{measurement['level']:g}", measurement["variant"]],
        [
            *([None] * 4 if incomparable else _deviations(measurement)),
            digits(measurement["iterations"]),
            digits(measurement["images_per_second"] / paper["images_per_second"]),
        ],
    )


def _deviations(measurement: Measurement) -> list[str]:
    return [
        f"{measurement['mean_difference']:.3f}",
        f"{measurement['worst_image_difference']:.2f}",
        f"{measurement['largest_difference']:.1f}",
        f"{measurement['common_support']:.4f}",
    ]


def _caption(measurements: Sequence[Measurement]) -> list[str]:
    first = measurements[0]
    shape = f"{first['size']}×{first['size']}×{first['channels']}"
    threads = f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}"
    short = max(each["count"] - each["reached"] for each in measurements)
    left_out = f"Images that could not reach a level are left out there, up to {short} of {first['count']}."
    return [
        f"Images: {first['images']}, {first['count']} of {shape}; κ = {first['kappa']:g}.",
        "off by: absolute difference from “paper” at the same ν and level; the mean over all pixels, that of the worst "
        "image, and the largest of a pixel.",
        "support: the share of edges in either support that are in both, mean over images.",
        f"“{VARIANTS[-1]}”: the paper's scheme with steps {STRETCH:g} times as long.",
        "iterations: mean from the beginning to the level. × as fast: images a second beside “paper”, by one run.",
        f"{first['device']}, {threads}, {first['run'][:10]}.",
        *([left_out] if short else []),
    ]
