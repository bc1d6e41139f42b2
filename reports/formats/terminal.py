"""Shows a table in the terminal, in as many parts as its width asks for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from ..tables.engine.base import Column, Finding, Table
from .render import (
    BLANK,
    HEADER_WIDTH,
    Entry,
    constant_labels,
    difference_text,
    fold,
    is_best,
    paper_text,
    shown_labels,
    spread_text,
    value_text,
    varying_labels,
)

LABEL_WIDTH = 17
EVIDENCE_WIDTH = 24
_BESIDE = 3
"""What a column takes beside its text: a space on each side and one between columns."""


def to_terminal(table: Table, width: int = 100) -> RenderableType:
    """The title, the table in parts of at most `width` characters where that is possible, and the caption.

    Intervals go under their numbers where they do not fit beside them. Data sets stay together where they fit side
    by side, and are split between defenses where they do not. A label that is the same in all rows is said once.
    """
    view = _View(table, width)
    return Group(
        Text(table.title, style="bold", overflow="fold"),
        *itertools.chain.from_iterable(view.part(columns) for columns in view.parts()),
        Text(" ".join(table.caption), style="dim", overflow="fold"),
        Text(),
    )


class _View:
    """A table as it is about to be shown in a terminal of some width."""

    def __init__(self, table: Table, width: int) -> None:
        self.table = table
        self.width = width
        kept = varying_labels(table)
        self.said_once = constant_labels(table)
        self.header = [table.row_header[place] for place in kept]
        self.labels = [tuple(row.labels[place] for place in kept) for row in table.rows]
        self.stacked = False
        self.stacked = any(self._needed(members) > width for members in _datasets(table.columns))

    def parts(self) -> Iterator[list[int]]:
        """The column numbers of each part: whole data sets as long as they fit, else even shares of one."""
        part: list[int] = []
        for members in _datasets(self.table.columns):
            if part and self._needed(part + members) > self.width:
                yield part
                part = []
            *full, part = self._shares(part + members)
            yield from full
        if part:
            yield part

    def _shares(self, columns: list[int]) -> list[list[int]]:
        """As few parts of about as many columns as fit."""
        for count in range(1, len(columns)):
            shares = [list(map(int, share)) for share in np.array_split(columns, count)]
            if all(self._needed(share) <= self.width for share in shares):
                return shares
        return [[column] for column in columns]

    def part(self, columns: Sequence[int]) -> list[RenderableType]:
        """A line that says what is common to the part, its table, and an empty line."""
        datasets = {self.table.columns[column].dataset for column in columns}
        kind = "data" if self.table.column_header[0] == "dataset" else self.table.column_header[0]
        common = [*self.said_once, *([f"{kind} {min(datasets)}"] if len(datasets) == 1 else [])]
        shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False)
        for name in self.header:
            shown.add_column(Text(name), no_wrap=True, vertical="top")
        for column in columns:
            header = _header(self.table.columns[column], with_dataset=len(datasets) > 1)
            shown.add_column(Text(header), justify="right", no_wrap=True)
        self._add_rows(shown, columns)
        return [*([Text(" · ".join(common), style="italic")] if common else []), shown, Text()]

    def _add_rows(self, shown: RichTable, columns: Sequence[int]) -> None:
        blocks = [labels[:-1] for labels in self.labels]
        for place, labels in enumerate(shown_labels(self.labels)):
            if self.stacked and place and blocks[place] != blocks[place - 1]:
                shown.add_section()
            estimates = self.table.rows[place].estimates
            texts = [Text(fold(label, LABEL_WIDTH)) for label in labels]
            shown.add_row(*texts, *(_cell(estimates[column], self.stacked) for column in columns))

    def _needed(self, columns: Sequence[int]) -> int:
        """The characters that a part of these columns takes."""
        labels = [[name, *texts] for name, *texts in zip(self.header, *self.labels, strict=True)]
        numbers = [[_header(self.table.columns[column], with_dataset=True), *self._cells(column)] for column in columns]
        folded = [[fold(text, LABEL_WIDTH) for text in texts] for texts in labels]
        return sum(_width(texts) + _BESIDE for texts in (*folded, *numbers)) - 1

    def _cells(self, column: int) -> list[str]:
        return [_cell(row.estimates[column], self.stacked).plain for row in self.table.rows]


def _datasets(columns: Sequence[Column]) -> list[list[int]]:
    grouped = itertools.groupby(range(len(columns)), key=lambda number: columns[number].dataset)
    return [list(members) for _, members in grouped]


def _width(texts: Sequence[str]) -> int:
    return max(cell_len(line) for text in texts for line in text.split("\n"))


def _header(column: Column, *, with_dataset: bool) -> str:
    defense = fold(column.defense, HEADER_WIDTH)
    return f"{fold(column.dataset, HEADER_WIDTH)}\n{defense}" if with_dataset else defense


def _cell(estimate: Entry | None, stacked: bool) -> Text:
    if estimate is None:
        return Text(BLANK, style="dim")
    if isinstance(estimate, Finding):
        return Text(f"{estimate.verdict}\n{fold(estimate.evidence, EVIDENCE_WIDTH)}".rstrip())
    apart = "\n" if stacked else " "
    value = (value_text(estimate), "bold" if is_best(estimate) else "")
    paper = f"\n{paper_text(estimate)}{apart}{difference_text(estimate)}" if estimate.paper else ""
    return Text.assemble(value, apart, (spread_text(estimate), "dim"), (paper, "cyan"))
