"""The results database: one SQLite file an output folder, one transaction a cell, nothing ever overwritten."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.cache import digest_of
from harness.errors import UserError
from harness.progress import say
from harness.records.codec import encode
from harness.records.connection import DAMAGED, connected, locked
from harness.records.frame import tidy
from harness.records.reading import read_snapshot, read_statuses, unpack
from harness.records.schema import CellStatus, Details, FailedCell, PlannedCell, Snapshot

if TYPE_CHECKING:
    import pandas as pd

FILE_NAME = "records.sqlite"


class Records:
    """An open records file.

    >>> with Records.open(folder, write=True) as records:      # doctest: +SKIP
    ...     records.add(planned, predictions, labels, indices, environment={}, seconds=1.0)
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, write: bool = False) -> Iterator[Records]:
        """Open the records of an output folder, creating them when `write` is set.

        Raises: UserError when there are none to read, the file is not a database, comes from another version,
        the folder cannot be written, or another run is writing to it.
        """
        path = Path(folder) / FILE_NAME
        if not write and not path.is_file():
            raise UserError(f"expected records in {folder}, found no {FILE_NAME}. Run `python -m harness run` first.")
        if not write:
            with connected(path, write=False) as connection:
                yield cls(connection, path)
            return
        with locked(Path(folder)), connected(path, write=True) as connection:
            yield cls(connection, path)

    def __contains__(self, identity: str) -> bool:
        query = "SELECT 1 FROM cells WHERE identity=? AND status='done'"
        return self._connection.execute(query, (identity,)).fetchone() is not None

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM cells WHERE status='done'").fetchone()[0])

    def add(
        self,
        planned: PlannedCell,
        predictions: np.ndarray,
        labels: np.ndarray,
        indices: np.ndarray,
        *,
        environment: dict[str, Any],
        seconds: float,
        details: Details | None = None,
    ) -> None:
        """Record an evaluated cell: predictions, labels and indices are [N] integers, one an image.

        Raises: UserError when they are not, or there is no image.
        """
        packed, *truth = (_pack(values, len(labels)) for values in (predictions, labels, indices))
        digest = hashlib.sha256(b"".join(truth)).hexdigest()
        outcome = {"labels": digest, "predictions": packed, "details": encode(details or Details())}
        with self._connection as connection:
            connection.execute("INSERT OR IGNORE INTO labels VALUES (?,?,?)", (digest, *truth))
            self._insert(planned, environment, seconds, status="done", **outcome)

    def use(self, identity: str) -> bool:
        """Whether a cell is recorded; if so, note that this run uses it: tables show what was used last."""
        with self._connection as connection:
            query = "UPDATE cells SET used=? WHERE identity=? AND status='done'"
            return connection.execute(query, (time.time_ns(), identity)).rowcount > 0

    def forget_failure(self, identity: str) -> None:
        """Drop a failed attempt that a later one made good."""
        with self._connection as connection:
            connection.execute("DELETE FROM cells WHERE identity=? AND status='failed'", (identity,))

    def fail(self, planned: PlannedCell, reason: str, *, environment: dict[str, Any], seconds: float) -> None:
        """Record that a cell could not be evaluated; a later run tries it again."""
        with self._connection:
            self._insert(planned, environment, seconds, status="failed", reason=reason)

    def _insert(self, planned: PlannedCell, environment: dict[str, Any], seconds: float, **outcome: Any) -> None:
        """Add a row to `cells`; a finished cell is never touched again, a failed attempt is replaced."""
        machine = digest_of(environment)
        self._connection.execute("INSERT OR IGNORE INTO environments VALUES (?,?)", (machine, json.dumps(environment)))
        row = {
            "identity": planned.identity,
            "spec": json.dumps(planned.spec, sort_keys=True),
            "description": encode(planned.description),
            "environment": machine,
            "seconds": seconds,
            "recorded_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "used": time.time_ns(),
            **outcome,
        }
        self._connection.execute("DELETE FROM cells WHERE identity=? AND status='failed'", (planned.identity,))
        places = ",".join("?" * len(row))
        self._connection.execute(
            f"INSERT OR IGNORE INTO cells ({','.join(row)}) VALUES ({places})", tuple(row.values())
        )

    def correct(self, identity: str) -> np.ndarray:
        """Which images of a cell were classified correctly: [N] bool, in the order of their indices."""
        predictions, labels, indices = self._outcomes(identity)
        return (predictions == labels)[np.argsort(indices, kind="stable")]

    def predictions(self, identity: str) -> np.ndarray:
        """The classes predicted in a cell, [N] int64, in the order they were recorded."""
        return self._outcomes(identity)[0]

    def _outcomes(self, identity: str) -> list[np.ndarray]:
        """Predictions, labels and indices. Raises: UserError for a cell that is not finished."""
        query = (
            "SELECT predictions, labels.labels, indices FROM cells JOIN labels ON labels.digest = cells.labels "
            "WHERE identity=? AND status='done'"
        )
        row = self._connection.execute(query, (identity,)).fetchone()
        if row is None:
            raise UserError(f"no finished cell has the identity {identity!r} in {self.path}.")
        return list(map(unpack, row))

    def statuses(self) -> list[CellStatus]:
        """Every cell attempted so far in the order of recording, without its predictions."""
        unreadable: dict[str, str] = {}
        statuses = list(read_statuses(self._connection, unreadable))
        self._say_damaged(unreadable)
        return statuses

    def failures(self) -> list[FailedCell]:
        """Every failed cell in the order of recording."""
        return list(self.snapshot().failures)

    def frame(self) -> pd.DataFrame:
        """One tidy row (TIDY_COLUMNS) per finished cell in the order of their last use.

        Accuracies are in percent, with Wilson's 95 % interval.
        """
        return tidy(self.snapshot().records)

    def snapshot(self) -> Snapshot:
        """One consistent view of everything recorded at this moment, even while a run writes.

        A damaged row is named, and left out.
        """
        self._connection.execute("BEGIN")  # what others write meanwhile is not seen
        try:
            snapshot = read_snapshot(self._connection)
        finally:
            self._connection.rollback()
        self._say_damaged(snapshot.unreadable)
        return snapshot

    def _say_damaged(self, unreadable: Mapping[str, str]) -> None:
        """Say in one line which rows are left out."""
        if unreadable:
            identity, reason = next(iter(unreadable.items()))
            rest = f" and {len(unreadable) - 1} further rows" if len(unreadable) > 1 else ""
            say(f"damaged in {self.path}, left out: {identity[:16]} ({reason}){rest}. {DAMAGED}")


def _pack(values: np.ndarray, count: int) -> bytes:
    whole = np.ascontiguousarray(values, dtype="<i4")
    if values.shape != (count,) or count == 0 or not np.array_equal(whole, values):
        raise UserError(
            f"a cell needs one integer an image, got {values.dtype} of shape {values.shape} for {count} images."
        )
    return zlib.compress(whole.tobytes(), level=6)
