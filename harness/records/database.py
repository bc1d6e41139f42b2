"""The results database: one SQLite file an output folder, one transaction a cell, nothing ever overwritten."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sqlite3
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import numpy as np
from filelock import FileLock, Timeout

from harness.cache import digest_of
from harness.errors import HarnessError, UserError
from harness.records.reading import Contents, read_contents, tidy, unpack

if TYPE_CHECKING:
    import pandas as pd

FILE_NAME = "records.sqlite"
LOCK_NAME = "run.lock"
SCHEMA_VERSION = 1
FAILED = "failed"
DONE = "done"
PATIENCE = 0.2
"""Seconds to wait for a lock, which those who ask `is_locked` hold for a moment."""
DAMAGED = "Take a copy of the whole folder if there is one, or leave it out."

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE answers (digest TEXT PRIMARY KEY, labels BLOB NOT NULL, indices BLOB NOT NULL);
CREATE TABLE environments (digest TEXT PRIMARY KEY, environment TEXT NOT NULL);
CREATE TABLE cells (
    identity TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    spec TEXT NOT NULL,
    shown TEXT NOT NULL,
    environment TEXT NOT NULL REFERENCES environments(digest),
    seconds REAL NOT NULL,
    recorded_at TEXT NOT NULL,
    used INTEGER NOT NULL,
    reason TEXT,
    answers TEXT REFERENCES answers(digest),
    predictions BLOB,
    details TEXT
);
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell before it is evaluated.

    spec: everything that can change its numbers; its hash is the identity · shown: what tables are made from
    (the tidy columns that are known beforehand).
    """

    spec: dict[str, Any]
    shown: dict[str, Any]

    @property
    def identity(self) -> str:
        """SHA-256 of the specification."""
        return digest_of(self.spec)


class State(NamedTuple):
    """Whether a cell is done or failed, when it was recorded and last used (seconds since 1970), why it failed."""

    identity: str
    done: bool
    shown: dict[str, Any]
    recorded: float
    used: float
    reason: str | None


class Records:
    """An open records file.

    >>> with Records.open(folder, write=True) as records:      # doctest: +SKIP
    ...     records.add(cell, predictions, labels, indices, environment={}, seconds=1.0)
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, write: bool = False) -> Iterator[Records]:
        """Open the records of an output folder, creating them when `write` is set.

        Raises: UserError when there are none to read, the file is not a database, comes from a newer version,
        the folder cannot be written, or another run is writing to it.
        """
        path = Path(folder) / FILE_NAME
        if not write and not path.is_file():
            raise UserError(f"expected records in {folder}, found no {FILE_NAME}. Run `python -m harness run` first.")
        if not write:
            with _connected(path, write=False) as connection:
                yield cls(connection, path)
            return
        with locked(Path(folder)), _connected(path, write=True) as connection:
            yield cls(connection, path)

    def __contains__(self, identity: str) -> bool:
        found = self._connection.execute("SELECT 1 FROM cells WHERE identity=? AND status='done'", (identity,))
        return found.fetchone() is not None

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM cells WHERE status='done'").fetchone()[0])

    def add(
        self,
        cell: Cell,
        predictions: np.ndarray,
        labels: np.ndarray,
        indices: np.ndarray,
        *,
        environment: dict[str, Any],
        seconds: float,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Record an evaluated cell: predictions, labels and indices are [N] integers, one an image.

        Raises: UserError when they are not, or there is no image.
        """
        packed, *answers = (_pack(values, len(labels)) for values in (predictions, labels, indices))
        digest = hashlib.sha256(b"".join(answers)).hexdigest()
        with self._connection as connection:
            connection.execute("INSERT OR IGNORE INTO answers VALUES (?,?,?)", (digest, *answers))
            self._insert(cell, DONE, environment, seconds, None, digest, packed, details)

    def use(self, identity: str) -> bool:
        """Whether a cell is recorded; if so, note that this run uses it: tables show what was used last."""
        with self._connection as connection:
            found = connection.execute(
                "UPDATE cells SET used=? WHERE identity=? AND status='done'", (time.time_ns(), identity)
            )
        return found.rowcount > 0

    def forget_failure(self, identity: str) -> None:
        """Drop a failed attempt that a later one made good."""
        with self._connection as connection:
            connection.execute("DELETE FROM cells WHERE identity=? AND status='failed'", (identity,))

    def fail(self, cell: Cell, reason: str, *, environment: dict[str, Any], seconds: float) -> None:
        """Record that a cell could not be evaluated; a later run tries it again."""
        with self._connection:
            self._insert(cell, FAILED, environment, seconds, reason, None, None, None)

    def _insert(
        self,
        cell: Cell,
        status: str,
        environment: dict[str, Any],
        seconds: float,
        reason: str | None,
        answers: str | None,
        predictions: bytes | None,
        details: dict[str, Any] | None,
    ) -> None:
        machine = digest_of(environment)
        self._connection.execute("INSERT OR IGNORE INTO environments VALUES (?,?)", (machine, json.dumps(environment)))
        row = (
            cell.identity,
            status,
            json.dumps(cell.spec, sort_keys=True),
            json.dumps(cell.shown, sort_keys=True),
            machine,
            seconds,
            datetime.now(UTC).isoformat(timespec="seconds"),
            time.time_ns(),
            reason,
            answers,
            predictions,
            json.dumps(details or {}),
        )
        # Only a failed attempt may be replaced; a finished cell is never touched again.
        self._connection.execute("DELETE FROM cells WHERE identity=? AND status='failed'", (cell.identity,))
        self._connection.execute(f"INSERT OR IGNORE INTO cells VALUES ({','.join('?' * len(row))})", row)

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
            "SELECT predictions, labels, indices FROM cells JOIN answers ON answers.digest = cells.answers "
            "WHERE identity=? AND status='done'"
        )
        row = self._connection.execute(query, (identity,)).fetchone()
        if row is None:
            raise UserError(f"no finished cell has the identity {identity!r} in {self.path}.")
        return list(map(unpack, row))

    def states(self) -> list[State]:
        """Every cell tried so far in the order of recording, without its predictions."""
        query = "SELECT identity, status, shown, recorded_at, used, reason FROM cells ORDER BY rowid"
        return [
            State(name, status == DONE, json.loads(shown), datetime.fromisoformat(at).timestamp(), used / 1e9, reason)
            for name, status, shown, at, used, reason in self._connection.execute(query)
        ]

    def failures(self) -> list[tuple[dict[str, Any], str]]:
        """What is shown of every failed cell, and why it failed."""
        rows = self._connection.execute("SELECT shown, reason FROM cells WHERE status='failed' ORDER BY rowid")
        return [(json.loads(shown), reason) for shown, reason in rows]

    def frame(self) -> pd.DataFrame:
        """One tidy row (TIDY_COLUMNS) per finished cell in the order of their last use.

        Accuracies are in percent, with Wilson's 95 % interval.
        """
        contents = self.contents()
        return tidy(contents.cells, lambda cell: str(contents.environments[cell.environment].get("device", "")))

    def contents(self) -> Contents:
        """Everything there is at this moment, in one piece while a run goes on writing; nothing is kept from it.

        Raises: UserError for what was damaged.
        """
        self._connection.execute("BEGIN")  # a snapshot: what others write meanwhile is not seen
        try:
            return read_contents(self._connection)
        except (ValueError, TypeError, KeyError, zlib.error) as error:
            raise UserError(f"the records at {self.path} are damaged ({error}). {DAMAGED}") from error
        finally:
            self._connection.rollback()


def _pack(values: np.ndarray, count: int) -> bytes:
    whole = np.ascontiguousarray(values, dtype="<i4")
    if values.shape != (count,) or count == 0 or not np.array_equal(whole, values):
        raise UserError(
            f"a cell needs one integer an image, got {values.dtype} of shape {values.shape} for {count} images."
        )
    return zlib.compress(whole.tobytes(), level=6)


def is_locked(folder: Path) -> bool:
    """Whether a run is writing to an output folder, asked without changing anything in it."""
    path = Path(folder) / LOCK_NAME
    if not path.is_file():
        return False
    try:
        _try_lock(path)
    except (OSError, Timeout):
        return True
    return False


def _try_lock(path: Path) -> None:
    """Hold a lock for a moment. Raises: OSError or Timeout when somebody else has it."""
    if sys.platform == "win32":
        with FileLock(path, timeout=0):
            return
    import fcntl

    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an output folder for one writer; the lock goes with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME)
        lock.acquire(timeout=PATIENCE)
    except Timeout as error:
        raise UserError(
            f"another run is writing to {folder}. Wait for it to end, or give this one another --out."
        ) from error
    except OSError as error:
        raise UserError(
            f"the output folder {folder} cannot be written: {error.strerror}. Choose another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _connected(path: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    connection = _connect(path, write=write)
    try:
        _check(connection, path, write=write)
        yield connection
    except sqlite3.DatabaseError as error:
        if write:
            raise HarnessError(f"the records at {path} could not be read or written: {error}.") from error
        raise UserError(f"the records at {path} could not be read: {error}. {DAMAGED}") from error
    finally:
        connection.close()


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open for writing, creating what is not there, or for reading, changing nothing."""
    if write:
        return _attempt(path, f"file:{quote(str(path.resolve()))}", _SCHEMA)
    read_only = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        return _attempt(path, read_only)
    except UserError:
        if os.access(path.parent, os.W_OK):
            raise
        # SQLite keeps shared memory beside the file, for which a folder that cannot be written has no room
        return _attempt(path, f"{read_only}&immutable=1")


def _attempt(path: Path, address: str, schema: str | None = None) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(address, timeout=30, uri=True)
        if schema is not None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
        if not _tables(connection) and schema is not None:
            connection.executescript(
                f"BEGIN; {schema} INSERT INTO meta VALUES ('version', '{SCHEMA_VERSION}'); COMMIT;"
            )
    except sqlite3.OperationalError as error:
        raise UserError(
            f"the records file {path} cannot be opened: {error}. Is it readable, and nobody's lock on it?"
        ) from error
    except sqlite3.DatabaseError as error:
        advice = DAMAGED if schema is None else "Move it away or choose another --out."
        raise UserError(f"expected a records database at {path}, found something else ({error}). {advice}") from error
    return connection


def _check(connection: sqlite3.Connection, path: Path, *, write: bool) -> None:
    other = "choose another --out" if write else "leave it out"
    version = _version(connection, _tables(connection))
    if version is None:
        raise UserError(
            f"expected a records database at {path}, found an empty one or another program's. {other.capitalize()}."
        )
    if version > SCHEMA_VERSION:
        raise UserError(
            f"the records at {path} are of version {version}, this harness reads up to {SCHEMA_VERSION}. "
            f"Update the harness, or {other}."
        )


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}


def _version(connection: sqlite3.Connection, tables: set[str]) -> int | None:
    """The version of our own records; None for what another program wrote."""
    if "meta" not in tables or "cells" not in tables:
        return None
    try:
        row = connection.execute("SELECT value FROM meta WHERE key='version'").fetchone()
    except sqlite3.OperationalError:  # a table of the same name with other columns
        return None
    return int(row[0]) if row is not None and str(row[0]).isdigit() else None
