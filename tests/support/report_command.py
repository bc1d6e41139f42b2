"""Records for the report command, and when its files were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from support.record_samples import plan_cell

from harness.records.database import Records
from harness.records.schema import Details, PlannedCell

LABELS = np.arange(20) % 4
HERE = {"environment": {"device": "CPU"}, "seconds": 1.0}
NOTHING = Details()
Call = Callable[..., tuple[int, str, str]]
"""The report command: from its arguments to its exit code, standard output and standard error."""


def cell(defense: str, **given: Any) -> PlannedCell:
    return plan_cell({"defense": defense, **given}, defense=defense, **given)


def record(folder: Path, *defenses: str, wrong: int = 5, details: Details = NOTHING, **given: Any) -> Path:
    with Records.open(folder, write=True) as records:
        for defense in defenses:
            predictions = np.where(np.arange(20) < wrong, 4, LABELS)
            records.add(
                cell(defense, **given), predictions, LABELS, np.arange(20), **HERE, details=details or Details()
            )
    return folder


def times(folder: Path) -> dict[str, int]:
    """When each file was written, save those that SQLite keeps beside a database that is being read."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".sqlite-shm", ".sqlite-wal")]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}
