"""What is known of every network beside its accuracies: how it was trained, where it was scored, what was flagged."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..collect.cells import Cell
from ..collect.collection import Collection
from ..tables.base import Finding, Table
from .entries import Entries


def networks(collection: Collection, entries: Entries) -> dict[str, Any]:
    """environments, each once, and networks: one for each data set, backbone, defense and seed."""
    members: dict[tuple[int, int, int, int], list[Cell]] = defaultdict(list)
    for cell in collection.cells:
        members[*entries.entry(cell)[:3], cell.seed].append(cell)
    known: dict[str, int] = {}
    found = [
        {
            **dict(zip(("dataset", "backbone", "defense", "seed"), key, strict=True)),
            "recipe": _recipe(collection, cells),
            "environments": _environments(collection, cells, known),
            "flags": _flags(cells),
        }
        for key, cells in sorted(members.items())
    ]
    return {"environments": [json.loads(text) for text in known], "networks": found}


def masking(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """The masking checks by column of their table: whose they are, and per check its verdict and evidence."""
    return [
        {"dataset": column.dataset, "defense": column.defense, "checks": checks}
        for table in tables
        if table.name.partition(":")[0] == "masking"
        for number, column in enumerate(table.columns)
        if (checks := _checks(table, number))
    ]


def _checks(table: Table, number: int) -> list[list[str]]:
    entries = [(row.labels, row.estimates[number]) for row in table.rows]
    return [[*labels, entry.verdict, entry.evidence] for labels, entry in entries if isinstance(entry, Finding)]


def _recipe(collection: Collection, cells: Sequence[Cell]) -> dict[str, str]:
    """What the records say of the training, and the recipe where it is recorded."""
    cell = cells[0]
    recorded = next((collection.recipes[c.identity] for c in cells if collection.recipes.get(c.identity)), {})
    facts = {
        "preset": f"{cell.preset} (altered)" if cell.altered else cell.preset,
        "epochs": cell.epochs,
        "training images": cell.train_images,
        "bfloat16": "yes" if cell.amp else None,
        "weights": cell.weights[:12],
    }
    return _as_text({**facts, **recorded})


def _environments(collection: Collection, cells: Sequence[Cell], known: dict[str, int]) -> list[list[int]]:
    """[number of the environment, cells computed in it]; new ones are added to `known`."""
    texts = [collection.environments.get(cell.identity) for cell in cells]
    counted = Counter(json.dumps(_as_text(text), sort_keys=False) for text in texts if text)
    return [[known.setdefault(text, len(known)), count] for text, count in sorted(counted.items())]


def _flags(cells: Sequence[Cell]) -> list[list[Any]]:
    """[what was flagged, under which conditions]."""
    found: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        for flag in json.loads(cell.details or "{}").get("flags", []):
            found[str(flag)].append(_condition(cell))
    return [[flag, sorted(set(conditions))] for flag, conditions in sorted(found.items())]


def _condition(cell: Cell) -> str:
    severity = f" severity {cell.severity}" if cell.severity is not None else ""
    return " ".join(filter(None, (cell.condition + severity, cell.threat)))


def _as_text(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): _text(value) for name, value in values.items() if value not in (None, "")}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
