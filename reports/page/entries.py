"""The leaderboard's rows, and the numbers by which the page's data refers to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from ..collect.cells import Cell, Group
from ..tables.layout import backbone_label, defense_order, group_names, group_order
from ..tables.summary import summary_group

Name = TypeVar("Name")


class Entry(NamedTuple):
    """A row, seeds aside: places in the lists of data sets, backbones, defenses and preprocessings."""

    dataset: int
    backbone: int
    defense: int
    preprocess: int


class Entries:
    """All entries of a report, in the order of its tables; "" among the preprocessings is none."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        cells = list(cells)
        names = group_names(summary_group(cell) for cell in cells)
        groups = sorted(names, key=group_order)
        self.datasets = [names[group] for group in groups]
        self.backbones = [label.text for label in sorted({backbone_label(cell) for cell in cells})]
        self.defenses = sorted({cell.defense for cell in cells}, key=defense_order)
        self.preprocessings = sorted({_preprocess(cell) for cell in cells})
        self._groups: dict[Group, int] = _places(groups)
        self._names = tuple(map(_places, (self.backbones, self.defenses, self.preprocessings)))
        self.all = sorted({self.entry(cell) for cell in cells})
        self._numbers = {entry: number for number, entry in enumerate(self.all)}

    def entry(self, cell: Cell) -> Entry:
        """The row that a cell's number stands in."""
        backbones, defenses, preprocessings = self._names
        return Entry(
            self._groups[summary_group(cell)],
            backbones[cell.backbone],
            defenses[cell.defense],
            preprocessings[_preprocess(cell)],
        )

    def number(self, cell: Cell) -> int:
        """Its place in `all`."""
        return self._numbers[self.entry(cell)]


def _preprocess(cell: Cell) -> str:
    return cell.preprocess if cell.preprocessed else ""


def _places(names: Iterable[Name]) -> dict[Name, int]:
    return {name: place for place, name in enumerate(names)}
