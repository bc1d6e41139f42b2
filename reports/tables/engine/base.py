"""What a table is: labelled rows, columns by data set and defense, and a value at each place."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, TypeAlias

from ...statistics.estimates import Estimate

DECIMALS = 1
"""Digits behind the point. Numbers that are equal when rounded so tie for the best."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict in words and the numbers behind it."""

    verdict: str
    """For example "pass" or "FAIL"."""
    evidence: str


PlaceValue: TypeAlias = Estimate | Finding
"""What stands at a place of a table."""


class Column(NamedTuple):
    """A column's two header lines, the data set and the defense in most tables."""

    group: str
    name: str


class Row(NamedTuple):
    """A row of a table."""

    labels: tuple[str, ...]
    """One for each name in the table's `row_header`."""
    entries: tuple[PlaceValue | None, ...]
    """One for each column; None where nothing was run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A finished table."""

    name: str
    title: str
    caption: tuple[str, ...]
    """Sentences."""
    row_header: tuple[str, ...]
    """The names of a row's labels."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    column_header: tuple[str, str] = ("dataset", "defense")
    """The names of a column's two header lines."""


def signed(points: float) -> str:
    """A difference in percentage points as tables show it.

    >>> signed(1.26), signed(-7.0), signed(-0.01)
    ('+1.3', '−7.0', '+0.0')
    """
    return f"{round(points, DECIMALS) + 0.0:+.{DECIMALS}f}".replace("-", "−")
