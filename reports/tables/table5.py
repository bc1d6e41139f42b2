"""Tables 5 and 6: clean accuracy against the sparsity level of the training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from harness.registry import tables
from harness.spec import Spec

from ..collect.cells import Cell, Cells, base_name
from ..paper.numbers import UNSTATED, Position, paper_number, papers_defense
from ..statistics.estimates import mean_accuracy
from .base import PaperNumber, Table
from .captions import common
from .layout import Label, assemble, backbone_label, fill, natural, preprocess_label

LEVEL = "0.6"
"""The level that a ViRoLBI's name leaves unsaid."""
SCHEDULE = {"start": "0.3", "end": "0.8"}
"""The ends of iterative training that its name leaves unsaid."""
ABOUT = (
    "Sparsity level of the images trained on: one level (virolbi_fixed), the whole image (1.0, vanilla) or rising "
    "levels (virolbi_iterative)."
)


class _Training(NamedTuple):
    """What a network was trained on: a level, and whatever else its defense's name holds."""

    level: str
    others: str


@tables.register("table5")
class LevelsOnCifar:
    """Table 5: clean accuracy against the sparsity level trained at; all data sets but ImageNet100."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when no ViRoLBI was scored on clean images."""
        return _build(cells, 5, lambda cell: cell.family != "imagenet100")


@tables.register("table6")
class LevelsOnImageNet:
    """Table 6: clean accuracy against the sparsity level trained at, on ImageNet100."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when no ViRoLBI was scored on clean images."""
        return _build(cells, 6, lambda cell: cell.family == "imagenet100")


def _build(cells: Cells, number: int, belongs: Callable[[Cell], bool]) -> Table | None:
    chosen = [cell for cell in cells.of_suite("clean") if belongs(cell) and _training(cell)]
    if not any(cell.defense.startswith("virolbi_") for cell in chosen):
        return None
    preprocess = preprocess_label(chosen)

    def paper(members: Sequence[Cell]) -> PaperNumber | None:
        return _paper(members, number)

    places = fill(
        cells,
        chosen,
        row=lambda cell: (backbone_label(cell), _level_label(cell), preprocess(cell)),
        combine=mean_accuracy,
        paper=paper,
        column=_column,
    )
    return assemble(
        places,
        name=f"table{number}",
        title=f"Clean accuracy against sparsity level (Table {number} of the paper)",
        caption=[ABOUT, *common(cells, chosen, places, paper_note=UNSTATED)],
        row_header=("backbone", "level", "preprocess"),
        column_header=("dataset", "training"),
    )


def _training(cell: Cell) -> _Training | None:
    """The level in a defense's name; None for what does not train by level."""
    spec = Spec.parse(cell.defense)
    given = dict(spec.parameters)
    if cell.defense == "vanilla":
        return _Training("1.0", "")
    if spec.name == "virolbi_fixed":
        level = given.pop("level", LEVEL)
    elif spec.name == "virolbi_iterative":
        if papers_defense(cell):
            given.pop("level", None)  # that of its test, by which the paper's two data sets differ
        level = "..".join(given.pop(end, usual) for end, usual in SCHEDULE.items())
    else:
        return None
    return _Training(level, ",".join(f"{name}={value}" for name, value in given.items()))


def _level_label(cell: Cell) -> Label:
    training = _training(cell)
    level = training.level if training else ""
    return Label((".." in level, natural(level)), level)


def _column(cell: Cell) -> str:
    """Networks trained otherwise than by their level stand in columns of their own; vanilla with the paper's."""
    training = _training(cell)
    return f"virolbi:{training.others}" if training and training.others else "virolbi"


def _paper(members: Sequence[Cell], number: int) -> PaperNumber | None:
    cell = members[0]
    training = _training(cell)
    if training is None or training.others:
        return None
    position = Position((number,), f"sparsity={training.level}")
    return paper_number(members, position, defense=base_name(cell.defense))
