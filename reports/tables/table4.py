"""Table 4: low- and high-frequency parts of the images."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells
from ..paper.numbers import UNSTATED, PaperNumber, Position, paper_number
from ..statistics.estimates import mean_accuracy
from .engine.base import Table
from .engine.captions import common
from .engine.layout import Label, assemble, backbone_label, fill, preprocess_label

CLIPPED = "Before preprocessing, the parts are clipped to [0,1]."
_CONDITION = re.compile(r"(low|high) r=(\d+(?:\.\d+)?)")


@tables.register("table4")
class FrequencyParts:
    """Table 4: low- and high-frequency parts of the images; the rows of cut-off `radius` come first."""

    def __init__(self, *, radius: float = 6) -> None:
        self.radius = radius

    def build(self, cells: Cells) -> Table | None:
        """The table, None when the frequency suite was not run."""
        records = cells.of_suite("frequency")
        if not records:
            return None
        preprocess = preprocess_label(records)
        places = fill(
            records,
            row=lambda record: (backbone_label(record), *self._labels(record), preprocess(record)),
            combine=mean_accuracy,
            paper=self._paper,
        )
        return assemble(
            places,
            name="table4",
            title="Low- and high-frequency parts (Table 4 of the paper)",
            caption=[
                "r: cut-off radius around the zero frequency.",
                *([CLIPPED] if any(record.preprocessed for record in records) else []),
                *common(cells, records, places, paper_note=UNSTATED),
            ],
            row_header=("backbone", "r", "part", "preprocess"),
        )

    def _labels(self, record: Record) -> tuple[Label, Label]:
        part = _CONDITION.fullmatch(record.condition)
        if part is None:
            return Label((2, 0.0), ""), Label((2,), record.condition)
        radius = float(part[2])
        return Label((int(radius != self.radius), radius), part[2]), Label((int(part[1] == "low"),), part[1])

    def _paper(self, members: Sequence[Record]) -> PaperNumber | None:
        part = _CONDITION.fullmatch(members[0].condition)
        if part is None or float(part[2]) != self.radius:
            return None
        return paper_number(members, Position((4,), part[1]), ["radius"])
