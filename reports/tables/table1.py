"""Table 1: natural corruptions."""

from __future__ import annotations

from collections.abc import Sequence

from harness.corruptions import COMMON, EXTRA
from harness.registry import tables

from ..collect.cells import Cell, Cells
from ..paper.numbers import Position, paper_number, severity_difference
from ..statistics.estimates import mean_accuracy
from .base import PaperNumber, Table
from .captions import common, corrupted_by, numbers_text
from .layout import Label, assemble, backbone_label, fill, preprocess_label, source_label

ORDER = (*COMMON, *EXTRA)


@tables.register("table1")
class NaturalCorruptions:
    """Table 1: natural corruptions, mean over severities, without and with preprocessing."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when no corruption was run."""
        chosen = cells.of_suite("corruption")
        if not chosen:
            return None
        corruption = source_label(chosen, corruption_label)
        preprocess = preprocess_label(chosen)
        places = fill(
            cells,
            chosen,
            row=lambda cell: (backbone_label(cell), corruption(cell), preprocess(cell)),
            combine=mean_accuracy,
            paper=_paper,
        )
        return assemble(
            places,
            name="table1",
            title="Natural corruptions (Table 1 of the paper)",
            caption=[*_about(chosen), *common(cells, chosen, places)],
            row_header=("backbone", "corruption", "preprocess"),
        )


def corruption_label(cell: Cell) -> Label:
    """The corruptions in the order in which the field lists them."""
    place = ORDER.index(cell.condition) if cell.condition in ORDER else len(ORDER)
    return Label((place, cell.condition), cell.condition)


def _paper(members: Sequence[Cell]) -> PaperNumber | None:
    return paper_number(members, Position((1,), members[0].condition), severity_difference(members))


def _about(chosen: Sequence[Cell]) -> list[str]:
    severities = {cell.severity for cell in chosen if cell.severity is not None}
    return [
        *([f"Mean over severities {numbers_text(severities)}."] if severities else []),
        *corrupted_by(chosen),
    ]
