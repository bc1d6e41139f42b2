"""Builds the registered tables from records."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from harness.registry import tables as registered

from ...collect.cells import Cells
from .base import Table

FIRST = "summary"
"""The table that comes before all others."""


class TableMaker(Protocol):
    """What `harness.registry.tables` holds: a class, its keyword parameters the user's to set, with this method."""

    def build(self, cells: Cells) -> Table | None:
        """The table, or None when the cells it is made from were not run."""


def build(cells: Cells, names: Sequence[str] | None = None) -> list[Table]:
    """The tables of these names that have something to show, by default of all names.

    A name may set parameters: "table4:radius=8". By default the summary comes first, then the paper's tables.
    """
    if names is None:
        names = sorted(registered.names(), key=lambda name: (name != FIRST, not name.startswith("table"), name))
    made = [_build(name, cells) for name in names]
    return [table for table in made if table is not None]


def _build(name: str, cells: Cells) -> Table | None:
    maker: TableMaker = registered.create(name)
    table = maker.build(cells)
    # The name with its parameters: one table with two settings is two files.
    return table and dataclasses.replace(table, name=registered.canonical(name))
