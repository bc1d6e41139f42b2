"""Builds the registered tables from recorded cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from harness.registry import tables as registered

from ...collect.cells import Cells
from .base import Table

FIRST = "summary"
"""The table that is shown before all others."""


class TableMaker(Protocol):
    """What `harness.registry.tables` holds: a class, its keyword parameters the user's to set, with this method."""

    def build(self, cells: Cells) -> Table | None:
        """The table, or None when the cells it is made from were not run."""


def build(cells: Cells, names: Sequence[str] | None = None) -> list[Table]:
    """The tables of these names ("table4:radius=8" sets a parameter), by default all, that have something to show."""
    made = [_build(name, cells) for name in (sorted(registered.names(), key=_place) if names is None else names)]
    return [table for table in made if table is not None]


def _place(name: str) -> tuple[bool, bool, str]:
    """The summary first, then the paper's tables, then the others."""
    return name != FIRST, not name.startswith("table"), name


def _build(name: str, cells: Cells) -> Table | None:
    maker: TableMaker = registered.create(name)
    table = maker.build(cells)
    # The name as asked for, parameters included: two forms of one table are two files.
    return table and dataclasses.replace(table, name=registered.canonical(name))
