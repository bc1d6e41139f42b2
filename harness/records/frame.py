"""Records as a table for a person: one row a cell, its columns the record's fields and the accuracy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_type_hints

from harness.metrics import wilson
from harness.records.codec import encode, plain
from harness.records.schema import Details, Record

if TYPE_CHECKING:
    import pandas as pd

_INTERNAL = ("used", "outcome_bits")
"""Fields that are no column: they change with every run, or are no single value."""
_FIELDS = [field.name for field in dataclasses.fields(Record) if field.name not in _INTERNAL]
_FIRST = (
    *("dataset", "backbone", "defense", "seed", "suite", "condition", "severity", "threat", "preprocess"),
    *("n_images", "n_correct", "accuracy", "ci_low", "ci_high"),
)
"""What a person looks for first: which cell it is, and its accuracy."""
TIDY_COLUMNS = [*_FIRST, *(name for name in _FIELDS if name not in _FIRST)]
_DTYPES = {int: "Int64", int | None: "Int64", float: "float64", float | None: "float64"}


def tidy(records: Iterable[Record]) -> pd.DataFrame:
    """One row (TIDY_COLUMNS) per record, in the order given; accuracies in percent, with Wilson's 95 % interval."""
    import pandas as pd

    frame = pd.DataFrame([_row(record) for record in records], columns=TIDY_COLUMNS)
    hints = get_type_hints(Record)
    return frame.astype({name: _DTYPES[hints[name]] for name in _FIELDS if hints[name] in _DTYPES})


def _row(record: Record) -> dict[str, Any]:
    low, high = wilson(record.n_correct, record.n_images)
    fields = {name: _text(value) for name, value in plain(record).items() if name in _FIELDS}
    return {
        **fields,
        "accuracy": 100 * record.n_correct / record.n_images,
        "ci_low": 100 * low,
        "ci_high": 100 * high,
    }


def _text(value: Any) -> Any:
    """What holds several values as JSON, one text."""
    if isinstance(value, Details):
        return encode(value)
    return json.dumps(value) if isinstance(value, dict) else value
