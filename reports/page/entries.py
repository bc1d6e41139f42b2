"""The leaderboard's rows, and the numbers by which the page's data refers to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from harness.records.schema import Record

from ..collect.cells import Group
from ..tables.engine.layout import backbone_label, defense_order, group_names, group_order, summary_group

Name = TypeVar("Name")


class Entry(NamedTuple):
    """A row, seeds aside: places in the lists of data sets, backbones, defenses and preprocessings."""

    dataset: int
    backbone: int
    defense: int
    preprocess: int


class Entries:
    """All entries of a report, in the order of its tables; "" among the preprocessings is none."""

    def __init__(self, cells: Iterable[Record]) -> None:
        cells = list(cells)
        names = group_names(summary_group(record) for record in cells)
        groups = sorted(names, key=group_order)
        self.datasets = [names[group] for group in groups]
        self.backbones = [label.text for label in sorted({backbone_label(record) for record in cells})]
        self.defenses = sorted({record.defense for record in cells}, key=defense_order)
        self.preprocessings = sorted({_preprocess(record) for record in cells})
        self._groups: dict[Group, int] = _places(groups)
        self._names = tuple(map(_places, (self.backbones, self.defenses, self.preprocessings)))
        self.all = sorted({self.entry(record) for record in cells})
        self._numbers = {entry: number for number, entry in enumerate(self.all)}

    def entry(self, record: Record) -> Entry:
        """The row that a cell's number stands in."""
        backbones, defenses, preprocessings = self._names
        return Entry(
            self._groups[summary_group(record)],
            backbones[record.backbone],
            defenses[record.defense],
            preprocessings[_preprocess(record)],
        )

    def number(self, record: Record) -> int:
        """Its place in `all`."""
        return self._numbers[self.entry(record)]


def _preprocess(record: Record) -> str:
    return record.preprocess if record.preprocessed else ""


def _places(names: Iterable[Name]) -> dict[Name, int]:
    return {name: place for place, name in enumerate(names)}
