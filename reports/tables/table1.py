"""Table 1: natural corruptions."""

from __future__ import annotations

from harness.corruptions import COMMON, EXTRA
from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells
from ..collect.labels import position
from ..paper.numbers import Position, paper_number, severity_difference
from ..statistics.estimates import mean_accuracy
from .engine.base import Table
from .engine.captions import common, corrupted_by, numbers_text
from .engine.layout import Label, assemble, backbone_label, fill, preprocess_label, source_label

ORDER = (*COMMON, *EXTRA)


@tables.register("table1")
class NaturalCorruptions:
    """Table 1: natural corruptions, mean over severities, without and with preprocessing."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when no corruption was run."""
        records = cells.of_suite("corruption")
        if not records:
            return None
        corruption, preprocess = source_label(records, corruption_label), preprocess_label(records)
        severities = {record.severity for record in records if record.severity is not None}
        places = fill(
            records,
            row=lambda record: (backbone_label(record), corruption(record), preprocess(record)),
            combine=mean_accuracy,
            paper=lambda here: paper_number(here, Position((1,), here[0].condition), severity_difference(here)),
        )
        return assemble(
            places,
            name="table1",
            title="Natural corruptions (Table 1 of the paper)",
            caption=[
                *([f"Mean over severities {numbers_text(severities)}."] if severities else []),
                *corrupted_by(records),
                *common(cells, records, places),
            ],
            row_header=("backbone", "corruption", "preprocess"),
        )


def corruption_label(record: Record) -> Label:
    """The corruption, in the order of ImageNet-C."""
    return Label((position(ORDER, record.condition), record.condition), record.condition)
