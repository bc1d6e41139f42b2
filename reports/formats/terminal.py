"""Shows a table in the terminal, in as few lines as its width allows, with a short caption."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from ..tables.engine.base import Column, Finding, Row, Table
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
"""Characters after which a row label goes on in the next line, where room is short."""
EVIDENCE_WIDTH = 24
"""The same for the evidence of a finding."""
ROOM = (4, 2, 1)
"""How many times these widths are tried, widest first."""
_BESIDE = 3
"""What a column takes beside its text: a space on each side and one between columns."""


def to_terminal(table: Table, width: int = 100, file: Path | None = None) -> RenderableType:
    """The title, the table in parts of at most `width` characters where that is possible, and the short caption.

    Of the arrangements tried, the one of fewest lines is shown: names whole or folded, and rows that differ in one
    of two last labels below or beside each other. Intervals go under their numbers where they do not fit beside them.
    Data sets stay together where they fit side by side, and are split between defenses where they do not. A label
    that is the same in all rows is said once.

    file: holds the whole caption, and is named where sentences are shortened or left out.
    """
    view = _best_view(table, width)
    return Group(
        Text(table.title, style="bold", overflow="fold"),
        *itertools.chain.from_iterable(view.part(columns) for columns in view.parts()),
        Text(short_caption(table, file), style="dim", overflow="fold"),
    )


def short_caption(table: Table, file: Path | None = None) -> str:
    """The caption with its `Sentence`s in short; sentences of any other kind, such as warnings, stay whole."""
    short = [str(getattr(sentence, "short", sentence)) for sentence in table.caption]
    pointer = [f"In full: {file}"] if file is not None and short != list(table.caption) else []
    return " ".join(filter(None, [*short, *pointer]))


def _best_view(table: Table, width: int) -> _View:
    rooms = list(itertools.product(ROOM, ROOM))
    views = [_View(table, width, *room) for room in rooms]
    if (beside := _side_by_side(table)) is not None:
        views += [view for room in rooms if len((view := _View(beside, width, *room)).parts()) == 1]
    return min(views, key=lambda view: (view.overflows, view.height))


def _side_by_side(table: Table) -> Table | None:
    """The table with the two values of its last row label as columns; None where they are not two."""
    values = tuple(dict.fromkeys(row.labels[-1] for row in table.rows))
    entries = {row.labels: row.entries for row in table.rows}
    if len(values) != 2 or len(table.row_header) < 2 or len(entries) < len(table.rows):
        return None
    blank = (None,) * len(table.columns)
    rows = []
    for labels in dict.fromkeys(row.labels[:-1] for row in table.rows):
        pair = [entries.get((*labels, value), blank) for value in values]
        rows.append(Row(labels, tuple(itertools.chain.from_iterable(zip(*pair, strict=True)))))
    columns = [Column(dataset, f"{defense}\n{value}") for dataset, defense in table.columns for value in values]
    return dataclasses.replace(table, row_header=table.row_header[:-1], columns=tuple(columns), rows=tuple(rows))


class _View:
    """A table arranged for a terminal of some width; larger room folds names and evidence later."""

    def __init__(self, table: Table, width: int, name_room: int, evidence_room: int) -> None:
        self.table = table
        self.width = width
        self.label_width, self.header_width = name_room * LABEL_WIDTH, name_room * HEADER_WIDTH
        self.evidence_width = evidence_room * EVIDENCE_WIDTH
        kept = varying_labels(table)
        self.said_once = constant_labels(table)
        self.header = [table.row_header[place] for place in kept]
        self.labels = [tuple(row.labels[place] for place in kept) for row in table.rows]
        self.stacked = False
        self.stacked = any(self._needed(members) > width for members in _datasets(table.columns))

    @property
    def overflows(self) -> bool:
        """Whether a part is wider than the terminal."""
        return any(self._needed(part) > self.width for part in self.parts())

    @property
    def height(self) -> int:
        """How many lines all parts take."""
        return sum(self._height(part) for part in self.parts())

    def parts(self) -> list[list[int]]:
        """The column numbers of each part: whole data sets as long as they fit, else even shares of one."""
        parts: list[list[int]] = []
        part: list[int] = []
        for members in _datasets(self.table.columns):
            if part and self._needed(part + members) > self.width:
                parts.append(part)
                part = []
            *full, part = self._shares(part + members)
            parts += full
        return [*parts, part] if part else parts

    def _shares(self, columns: list[int]) -> list[list[int]]:
        """As few parts of about as many columns as fit."""
        for count in range(1, len(columns)):
            shares = [list(map(int, share)) for share in np.array_split(columns, count)]
            if all(self._needed(share) <= self.width for share in shares):
                return shares
        return [[column] for column in columns]

    def part(self, columns: Sequence[int]) -> list[RenderableType]:
        """A line that says what is common to the part, and its table; an empty line between parts."""
        common = self._common(columns)
        drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False)
        for name in self.header:
            drawn.add_column(Text(name), no_wrap=True, vertical="top")
        for header in self._headers(columns):
            drawn.add_column(Text(header), justify="right", no_wrap=True)
        for place, texts in enumerate(self._rows(columns)):
            if place and self._starts_section(place):
                drawn.add_section()
            drawn.add_row(*texts)
        after = [] if columns[-1] == len(self.table.columns) - 1 else [Text()]
        return [*([Text(" · ".join(common), style="italic")] if common else []), drawn, *after]

    def _common(self, columns: Sequence[int]) -> list[str]:
        """The row labels and the data set that all places of a part share."""
        datasets = {self.table.columns[column].group for column in columns}
        kind = "data" if self.table.column_header[0] == "dataset" else self.table.column_header[0]
        return [*self.said_once, *([f"{kind} {min(datasets)}"] if len(datasets) == 1 else [])]

    def _headers(self, columns: Sequence[int]) -> list[str]:
        several = len({self.table.columns[column].group for column in columns}) > 1
        return [self._header(self.table.columns[column], with_dataset=several) for column in columns]

    def _header(self, column: Column, *, with_dataset: bool) -> str:
        names = [*([column.group] if with_dataset else []), *column.name.split("\n")]
        return "\n".join(fold(name, self.header_width) for name in names)

    def _rows(self, columns: Sequence[int]) -> Iterator[list[Text]]:
        for labels, row in zip(shown_labels(self.labels), self.table.rows, strict=True):
            yield [
                *(Text(fold(label, self.label_width)) for label in labels),
                *(self._cell(row.entries[column]) for column in columns),
            ]

    def _starts_section(self, place: int) -> bool:
        """Whether a row differs from the one above in more than its last label, where cells take several lines."""
        return self.stacked and self.labels[place][:-1] != self.labels[place - 1][:-1]

    def _height(self, columns: Sequence[int]) -> int:
        rows = sum(max(_lines(text.plain) for text in texts) for texts in self._rows(columns))
        sections = sum(self._starts_section(place) for place in range(1, len(self.labels)))
        return rows + sections + max(map(_lines, self._headers(columns))) + 3

    def _needed(self, columns: Sequence[int]) -> int:
        """The characters that a part of these columns takes."""
        labels = [[name, *texts] for name, *texts in zip(self.header, *self.labels, strict=True)]
        folded = [[fold(text, self.label_width) for text in texts] for texts in labels]
        numbers = [
            [
                self._header(self.table.columns[column], with_dataset=True),
                *(self._cell(row.entries[column]).plain for row in self.table.rows),
            ]
            for column in columns
        ]
        return sum(_width(texts) + _BESIDE for texts in (*folded, *numbers)) - 1

    def _cell(self, estimate: Entry | None) -> Text:
        if estimate is None:
            return Text(BLANK, style="dim")
        if isinstance(estimate, Finding):
            return Text(f"{estimate.verdict}\n{fold(estimate.evidence, self.evidence_width)}".rstrip())
        apart = "\n" if self.stacked else " "
        value = (value_text(estimate), "bold" if is_best(estimate) else "")
        paper = f"\n{paper_text(estimate)}{apart}{difference_text(estimate)}" if estimate.paper else ""
        return Text.assemble(value, apart, (spread_text(estimate), "dim"), (paper, "cyan"))


def _datasets(columns: Sequence[Column]) -> list[list[int]]:
    grouped = itertools.groupby(range(len(columns)), key=lambda number: columns[number].group)
    return [list(members) for _, members in grouped]


def _width(texts: Sequence[str]) -> int:
    return max(cell_len(line) for text in texts for line in text.split("\n"))


def _lines(text: str) -> int:
    return text.count("\n") + 1
