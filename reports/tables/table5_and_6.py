"""Tables 5 and 6: clean accuracy against the sparsity level of the training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from harness.records.schema import Record
from harness.registry import tables
from harness.spec import Spec

from ..collect.cells import Cells
from ..collect.labels import base_name, natural
from ..paper.numbers import ITERATIVE, STOPPED, UNSTATED, PaperNumber, Position, paper_number, papers_defense
from ..statistics.estimates import mean_accuracy
from .engine.base import Table
from .engine.captions import common
from .engine.layout import Label, assemble, backbone_label, fill, preprocess_label

LEVELS = (
    "Sparsity level of the images trained on: one level (virolbi_fixed), the whole image (1.0, vanilla) or rising "
    "levels (virolbi_iterative; ..0.6 stands for virolbi_iterative_stopped, whose last level is 0.6)."
)


class _Training(NamedTuple):
    """What a network was trained on."""

    level: str
    """One level, or the first and last, "0.3..0.8"."""
    others: str
    """The other parameters of its defense."""


@tables.register("table5")
class LevelsOnCifar:
    """Table 5: clean accuracy against the sparsity level trained at; all data sets but ImageNet100."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when no ViRoLBI was scored on clean images."""
        return _build(cells, 5, lambda record: record.family != "imagenet100")


@tables.register("table6")
class LevelsOnImageNet:
    """Table 6: clean accuracy against the sparsity level trained at, on ImageNet100."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when no ViRoLBI was scored on clean images."""
        return _build(cells, 6, lambda record: record.family == "imagenet100")


def _build(cells: Cells, number: int, belongs: Callable[[Record], bool]) -> Table | None:
    records = [record for record in cells.of_suite("clean") if belongs(record) and _training(record)]
    if not any(record.defense.startswith("virolbi_") for record in records):
        return None
    preprocess = preprocess_label(records)
    places = fill(
        records,
        row=lambda record: (backbone_label(record), _level_label(record), preprocess(record)),
        combine=mean_accuracy,
        paper=lambda here: _paper(here, number),
        column=_column,
    )
    return assemble(
        places,
        name=f"table{number}",
        title=f"Clean accuracy against sparsity level (Table {number} of the paper)",
        caption=[LEVELS, *common(cells, records, places, paper_note=UNSTATED)],
        row_header=("backbone", "level", "preprocess"),
        column_header=("dataset", "training"),
    )


def _training(record: Record) -> _Training | None:
    """What a network was trained on; None for a defense that does not train by level."""
    if record.defense == "vanilla":
        return _Training("1.0", "")
    spec, parameters = Spec.parse(record.defense), record.defense_parameters
    if spec.name == "virolbi_fixed":
        levels: tuple[str, ...] = ("level",)
    elif spec.name == ITERATIVE:
        levels = ("start", "end")
    elif spec.name == STOPPED:
        levels = ("level",)
    else:
        return None
    # The paper tests its data sets at different levels, which do not change the training.
    left_out = (*levels, "level") if papers_defense(record) else levels
    others = ",".join(f"{name}={value}" for name, value in spec.parameters.items() if name not in left_out)
    level = "..".join(f"{parameters[name]:g}" for name in levels)
    return _Training(f"..{level}" if spec.name == STOPPED else level, others)


def _level_label(record: Record) -> Label:
    training = _training(record)
    level = training.level if training else ""
    return Label((".." in level, natural(level)), level)


def _column(record: Record) -> str:
    """One column for all levels; a column for each set of other parameters."""
    training = _training(record)
    return f"virolbi:{training.others}" if training and training.others else "virolbi"


def _paper(members: Sequence[Record], number: int) -> PaperNumber | None:
    record = members[0]
    training = _training(record)
    if training is None or training.others:
        return None
    position = Position((number,), f"sparsity={training.level}")
    return paper_number(members, position, defense=base_name(record.defense))
