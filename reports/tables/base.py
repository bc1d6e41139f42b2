"""What a table is, whatever it is shown as: labelled rows, columns by data set and defense, one estimate a place."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Self

DECIMALS = 1
"""Digits shown behind the point; what looks equal in a table is equal in the contest for the best."""


class Sentence(str):
    """A sentence of a caption that the terminal shows in short, or leaves to the files and the page.

    short: what the terminal shows instead, "" for nothing. A plain string is shown whole everywhere: so is every
    warning, and whatever else changes how a number must be read.
    """

    short: str

    def __new__(cls, text: str, *, short: str = "") -> Self:
        """The whole sentence; `short` beside it."""
        sentence = super().__new__(cls, text)
        sentence.short = short
        return sentence


class PaperNumber(NamedTuple):
    """The paper's accuracy in percent, and in what its setting differs from ours (nothing: the same setting)."""

    accuracy: float
    differences: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """One measured accuracy, in percent, with its 95 % interval.

    std: over seeds, None with one seed · images: how many · seeds of expected_seeds, conditions of expected: how
    many of the table's seeds and of the row's conditions are in it, so that a mean over fewer is seen to be one.
    """

    value: float
    low: float
    high: float
    std: float | None = None
    seeds: int = 1
    expected_seeds: int = 1
    images: int
    conditions: int = 1
    expected: int = 1
    paper: PaperNumber | None = None
    best: bool = False

    @property
    def complete(self) -> bool:
        """Whether every condition of the row is in it."""
        return self.conditions == self.expected

    @property
    def difference(self) -> float | None:
        """Ours − the paper's, in points; None where the paper has no number."""
        return None if self.paper is None else self.value - self.paper.accuracy

    @property
    def covered(self) -> bool | None:
        """Whether our interval holds the paper's number, whose own uncertainty is left out; None without one."""
        return None if self.paper is None else self.low <= self.paper.accuracy <= self.high


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """An answer in words, "pass" or "fail", and the figures behind it."""

    verdict: str
    evidence: str


class Column(NamedTuple):
    """A column's two header lines."""

    dataset: str
    defense: str


class Row(NamedTuple):
    """A row's labels, one per name in the table's `row_header`, and its places; None where nothing was run."""

    labels: tuple[str, ...]
    estimates: tuple[Estimate | Finding | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A finished table.

    caption: sentences · row_header: what each row label says · column_header: what a column's two header lines say.
    """

    name: str
    title: str
    caption: tuple[str, ...]
    row_header: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    column_header: tuple[str, str] = ("dataset", "defense")
