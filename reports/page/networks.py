"""What is known of every network beside its accuracies: how it was trained, where it was scored, what was flagged."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.records.schema import Record

from ..collect.collection import Collection
from ..tables.engine.base import Finding, Table
from .entries import Entries


def networks(collection: Collection, entries: Entries) -> dict[str, Any]:
    """environments, each once, and networks: one for each data set, backbone, defense and seed."""
    members: dict[tuple[int, int, int, int], list[Record]] = defaultdict(list)
    for record in collection.cells:
        members[*entries.entry(record)[:3], record.seed].append(record)
    known: dict[str, int] = {}
    described = [
        {
            **dict(zip(("dataset", "backbone", "defense", "seed"), key, strict=True)),
            "recipe": _recipe(cells),
            "environments": _environments(collection, cells, known),
            "flags": _flags(cells),
        }
        for key, cells in sorted(members.items())
    ]
    return {"environments": [json.loads(text) for text in known], "networks": described}


def masking(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """The masking checks by column of their table: whose they are, and per check its verdict and evidence."""
    return [
        {"dataset": column.group, "defense": column.name, "checks": checks}
        for table in tables
        if table.name.partition(":")[0] == "masking"
        for number, column in enumerate(table.columns)
        if (checks := _checks(table, number))
    ]


def _checks(table: Table, number: int) -> list[list[str]]:
    entries = [(row.labels, row.entries[number]) for row in table.rows]
    return [[*labels, entry.verdict, entry.evidence] for labels, entry in entries if isinstance(entry, Finding)]


def _recipe(records: Sequence[Record]) -> dict[str, str]:
    """What the records say of the training."""
    record = records[0]
    trained = next((each.details.trained for each in records if each.details.trained), {})
    facts = {
        "preset": f"{record.preset} (altered)" if record.altered else record.preset,
        "epochs": record.epochs,
        "training images": record.train_images,
        "bfloat16": "yes" if record.amp else None,
        "weights": record.weights[:12],
    }
    return _as_text({**facts, **trained})


def _environments(collection: Collection, cells: Sequence[Record], known: dict[str, int]) -> list[list[int]]:
    """[number of the environment, cells computed in it]; new ones are added to `known`."""
    texts = [collection.environments.get(record.environment) for record in cells]
    counted = Counter(json.dumps(_as_text(text), sort_keys=False) for text in texts if text)
    return [[known.setdefault(text, len(known)), count] for text, count in sorted(counted.items())]


def _flags(cells: Sequence[Record]) -> list[list[Any]]:
    """[what was flagged, under which conditions]."""
    conditions_of: dict[str, list[str]] = defaultdict(list)
    for record in cells:
        for flag in record.details.flags:
            conditions_of[flag].append(_condition(record))
    return [[flag, sorted(set(conditions))] for flag, conditions in sorted(conditions_of.items())]


def _condition(record: Record) -> str:
    severity = f" severity {record.severity}" if record.severity is not None else ""
    return " ".join(filter(None, (record.condition + severity, record.threat)))


def _as_text(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): _text(value) for name, value in values.items() if value not in (None, "")}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
