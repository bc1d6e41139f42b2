"""Table 1: natural corruptions."""

from __future__ import annotations

from collections.abc import Sequence

from harness.corruptions import COMMON, EXTRA
from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells
from ..paper.numbers import PaperNumber, Position, paper_number, severity_difference
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
        corruption = source_label(records, corruption_label)
        preprocess = preprocess_label(records)
        places = fill(
            records,
            row=lambda record: (backbone_label(record), corruption(record), preprocess(record)),
            combine=mean_accuracy,
            paper=_paper,
        )
        return assemble(
            places,
            name="table1",
            title="Natural corruptions (Table 1 of the paper)",
            caption=[*_about(records), *common(cells, records, places)],
            row_header=("backbone", "corruption", "preprocess"),
        )


def corruption_label(record: Record) -> Label:
    """The corruptions in the order in which the field lists them."""
    place = ORDER.index(record.condition) if record.condition in ORDER else len(ORDER)
    return Label((place, record.condition), record.condition)


def _paper(members: Sequence[Record]) -> PaperNumber | None:
    return paper_number(members, Position((1,), members[0].condition), severity_difference(members))


def _about(records: Sequence[Record]) -> list[str]:
    severities = {record.severity for record in records if record.severity is not None}
    return [
        *([f"Mean over severities {numbers_text(severities)}."] if severities else []),
        *corrupted_by(records),
    ]
