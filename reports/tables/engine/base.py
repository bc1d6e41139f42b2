"""What a table is: labelled rows, columns by data set and defense, one entry a place."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, TypeAlias

from ...statistics.estimates import Estimate

DECIMALS = 1
"""Digits behind the point. Numbers that are equal to so many digits tie for the best."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """An answer in words and the figures behind it."""

    verdict: str
    """For example "pass" or "FAIL"."""
    evidence: str


Entry: TypeAlias = Estimate | Finding
"""What stands at a place of a table."""


class Column(NamedTuple):
    """A column's two header lines."""

    dataset: str
    defense: str


class Row(NamedTuple):
    """A row of a table."""

    labels: tuple[str, ...]
    """One for each name in the table's `row_header`."""
    estimates: tuple[Entry | None, ...]
    """One for each column; None where nothing was run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A finished table."""

    name: str
    title: str
    caption: tuple[str, ...]
    """Sentences."""
    row_header: tuple[str, ...]
    """What each label of a row says."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    column_header: tuple[str, str] = ("dataset", "defense")
    """What a column's two header lines say."""
