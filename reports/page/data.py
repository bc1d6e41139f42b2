"""What the page's script works on: every number of the report, as plain values that become one JSON text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..collect.collection import Collection
from ..tables.engine.base import Table
from .blocks import blocks_of
from .board import board
from .entries import Entries
from .networks import masking, networks


def page_data(collection: Collection, tables: Sequence[Table]) -> dict[str, Any]:
    """All that the script shows; what is named in one list is referred to elsewhere by its place there."""
    entries = Entries(collection.cells)
    return {
        "datasets": entries.datasets,
        "backbones": entries.backbones,
        "defenses": entries.defenses,
        "preprocessings": entries.preprocessings,
        "entries": [list(entry) for entry in entries.all],
        **board(collection.cells, entries),
        **blocks_of(collection.cells, entries),
        **networks(collection, entries),
        "masking": masking(tables),
    }
