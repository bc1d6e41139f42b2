"""Table 3: low resolution."""

from __future__ import annotations

from fractions import Fraction

from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells
from ..paper.numbers import UNSTATED, Position, paper_number
from ..statistics.estimates import mean_accuracy
from .engine.base import Table
from .engine.captions import common
from .engine.layout import Label, assemble, backbone_label, fill, preprocess_label


@tables.register("table3")
class LowResolution:
    """Table 3: low resolution per scale factor, without and with preprocessing."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when low resolution was not run."""
        records = cells.of_suite("low_resolution")
        if not records:
            return None
        preprocess = preprocess_label(records)
        places = fill(
            records,
            row=lambda record: (backbone_label(record), _scale_label(record), preprocess(record)),
            combine=mean_accuracy,
            paper=lambda here: paper_number(here, Position((3,), here[0].condition)),
        )
        return assemble(
            places,
            name="table3",
            title="Low resolution (Table 3 of the paper)",
            caption=[
                "Scale: side of the image that is kept over side of the image.",
                *common(cells, records, places, paper_note=UNSTATED),
            ],
            row_header=("backbone", "scale", "preprocess"),
        )


def _scale_label(record: Record) -> Label:
    text = record.condition.removeprefix("scale=")
    try:
        return Label((float(Fraction(text)),), text)
    except (ValueError, ZeroDivisionError):
        return Label((float("inf"),), text)
