"""Records as they come out of a records file: read in one pass, checked, each blob unpacked once."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import numpy as np

from harness.errors import first_line
from harness.records.codec import decode, json_object, plain, required
from harness.records.schema import CellStatus, Description, Details, FailedCell, Record, Snapshot

_FINISHED = (
    "SELECT identity, description, seconds, recorded_at, used, details, environment, labels, predictions "
    "FROM cells WHERE status='done' ORDER BY used, cells.rowid"
)
_FAILED = "SELECT identity, spec, description, reason FROM cells WHERE status='failed' ORDER BY rowid"
_STATUS = "SELECT identity, status, description, recorded_at, used, reason FROM cells ORDER BY rowid"

Value = TypeVar("Value")


class Truth(NamedTuple):
    """The true classes of a cell's images."""

    labels: np.ndarray
    """[N], as recorded."""
    order: np.ndarray
    """[N], what sorts them by the images' indices."""


def read_snapshot(connection: sqlite3.Connection) -> Snapshot:
    """Everything that can be read; rows that are not as they were written are named in `unreadable`."""
    unreadable: dict[str, str] = {}
    rows = connection.execute("SELECT digest, environment FROM environments")
    environments = dict(_readable(rows, lambda row: (row[0], json_object(row[1])), unreadable))
    return Snapshot(
        records=tuple(read_records(connection, environments, unreadable)),
        failures=tuple(_readable(connection.execute(_FAILED), _failed, unreadable)),
        environments=environments,
        unreadable=unreadable,
    )


def _readable(
    rows: Iterable[tuple[Any, ...]], read: Callable[[tuple[Any, ...]], Value], unreadable: dict[str, str]
) -> Iterator[Value]:
    """What `read` makes of each row; for one that is damaged, the reason by the row's first value in `unreadable`."""
    for row in rows:
        try:
            value = read(row)
        except (ValueError, TypeError, KeyError, zlib.error) as error:
            unreadable[str(row[0])] = first_line(error)
        else:
            yield value


def _failed(row: tuple[Any, ...]) -> FailedCell:
    identity, spec, description, reason = row
    described = decode(Description, json_object(description))
    return FailedCell(identity=identity, spec=json_object(spec), description=described, reason=reason)


def read_statuses(connection: sqlite3.Connection, unreadable: dict[str, str]) -> Iterator[CellStatus]:
    """Every cell attempted so far, in the order of recording; what cannot be read comes into `unreadable`."""
    return _readable(connection.execute(_STATUS), _status, unreadable)


def _status(row: tuple[Any, ...]) -> CellStatus:
    identity, status, description, recorded_at, used, reason = row
    return CellStatus(
        identity=identity,
        done=status == "done",
        description=decode(Description, json_object(description)),
        recorded=datetime.fromisoformat(recorded_at).timestamp(),
        used=used / 1e9,
        reason=reason,
    )


def read_records(
    connection: sqlite3.Connection, environments: Mapping[str, Mapping[str, Any]], unreadable: dict[str, str]
) -> Iterator[Record]:
    """Every finished cell in the order of its last use; labels are unpacked once for all cells that share them."""

    @functools.cache
    def truth(digest: str) -> Truth:
        row = connection.execute("SELECT labels, indices FROM labels WHERE digest=?", (digest,)).fetchone()
        if row is None:
            raise KeyError(f"labels {digest}")
        labels, indices = map(unpack, row)
        if len(labels) != len(indices):
            raise ValueError(f"{len(labels)} labels for {len(indices)} images")
        return Truth(labels, np.argsort(indices, kind="stable"))

    trained: dict[str, Mapping[str, Any]] = {}
    read = functools.partial(_record, environments=environments, truth=truth, trained=trained)
    return _readable(connection.execute(_FINISHED), read, unreadable)


def _record(
    row: tuple[Any, ...],
    environments: Mapping[str, Mapping[str, Any]],
    truth: Callable[[str], Truth],
    trained: dict[str, Mapping[str, Any]],
) -> Record:
    identity, description, seconds, recorded_at, used, details, environment, labels, predicted = row
    if environment not in environments:
        raise KeyError(f"environment {environment}")
    if not (isinstance(seconds, int | float) and 0 <= seconds < math.inf and isinstance(used, int)):
        raise ValueError(f"seconds {seconds!r}, used {used!r}")
    datetime.fromisoformat(recorded_at)
    true, predictions = truth(labels), unpack(predicted)
    if len(predictions) != len(true.labels):
        raise ValueError(f"{len(predictions)} predictions for {len(true.labels)} images")
    correct = (predictions == true.labels)[true.order]
    return Record(
        **plain(_finished(description)),
        identity=identity,
        n_images=len(correct),
        n_correct=int(correct.sum()),
        seconds=seconds,
        recorded_at=recorded_at,
        used=used,
        device=str(environments[environment].get("device", "")),
        environment=environment,
        predicted=hashlib.sha256(predictions.tobytes()).hexdigest(),
        details=_details(details, trained),
        outcome_bits=np.packbits(correct),
    )


def _finished(text: str) -> Description:
    """The description of a finished cell. Raises: ValueError where a field without a default is empty."""
    description = decode(Description, json_object(text))
    for name in required(Description):
        if getattr(description, name) == "":
            raise ValueError(f"a cell without {name}")
    return description


def _details(text: str, trained: dict[str, Mapping[str, Any]]) -> Details:
    """The details of a finished cell; how its network was trained is one object for all its cells."""
    values = json_object(text)
    about = values.get("trained")
    if isinstance(about, dict):
        values["trained"] = trained.setdefault(json.dumps(about, sort_keys=True), about)
    return decode(Details, values)


def unpack(blob: bytes) -> np.ndarray:
    """Integers [N] from how they are kept."""
    return np.frombuffer(zlib.decompress(blob), dtype="<i4")
