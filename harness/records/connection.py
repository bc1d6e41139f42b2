"""Opening a records file: one writer a folder, any number of readers, and no file of another program or version."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from harness.errors import HarnessError, UserError
from harness.records.schema import SCHEMA_VERSION

LOCK_NAME = "run.lock"
PATIENCE = 0.2
"""Seconds to wait for a lock, which those who ask `is_locked` hold for a moment."""
DAMAGED = "Take a copy of the whole folder if there is one, or leave it out."

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE labels (digest TEXT PRIMARY KEY, labels BLOB NOT NULL, indices BLOB NOT NULL);
CREATE TABLE environments (digest TEXT PRIMARY KEY, environment TEXT NOT NULL);
CREATE TABLE cells (
    identity TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    spec TEXT NOT NULL,
    description TEXT NOT NULL,
    environment TEXT NOT NULL REFERENCES environments(digest),
    seconds REAL NOT NULL,
    recorded_at TEXT NOT NULL,
    used INTEGER NOT NULL,
    reason TEXT,
    labels TEXT REFERENCES labels(digest),
    predictions BLOB,
    details TEXT
);
"""


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
def connected(path: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """An open records file of this version.

    Raises: UserError for a file that is none, and for a damaged one; HarnessError when it cannot be written.
    """
    connection = _connect(path, write=write)
    try:
        _check(connection, path, write=write)
        yield connection
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite's own text of an error may be no UTF-8
        if write:
            raise HarnessError(f"the records at {path} could not be read or written: {error}.") from error
        raise UserError(f"the records at {path} could not be read: {error}. {DAMAGED}") from error
    finally:
        connection.close()


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open for writing, creating what is not there, or for reading, changing nothing."""
    if write:
        return _attempt(path, f"file:{quote(os.fsencode(path.resolve()))}", _SCHEMA)
    read_only = f"file:{quote(os.fsencode(path.resolve()))}?mode=ro"
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
        connection.text_factory = lambda text: text.decode(errors="surrogateescape")
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
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        advice = DAMAGED if schema is None else "Move it away or choose another --out."
        raise UserError(f"expected a records database at {path}, found something else ({error}). {advice}") from error
    return connection


def _check(connection: sqlite3.Connection, path: Path, *, write: bool) -> None:
    version = _version(connection, _tables(connection))
    if version is None:
        raise UserError(
            f"expected a records database at {path}, found an empty one or another program's. "
            f"{'Choose another --out' if write else 'Leave it out'}."
        )
    if version != SCHEMA_VERSION:
        again = "Choose another --out" if write else "Run again into another folder, leave it out"
        raise UserError(
            f"expected records of version {SCHEMA_VERSION} at {path}, got version {version}. "
            f"{again}, or read them with the version of the harness that wrote them."
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
    return int(row[0]) if row is not None and re.fullmatch("[0-9]{1,9}", str(row[0])) else None
