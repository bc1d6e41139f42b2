"""Records as they come out of a records file: read in one pass, checked, each blob unpacked once."""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from harness.records.codec import decode, json_object, plain, required
from harness.records.schema import CellStatus, Description, Details, FailedCell, Record, Snapshot

_FINISHED = (
    "SELECT identity, description, seconds, recorded_at, used, details, environment, labels, predictions "
    "FROM cells WHERE status='done' ORDER BY used, cells.rowid"
)
_FAILED = "SELECT identity, spec, description, reason FROM cells WHERE status='failed' ORDER BY rowid"
_STATUS = "SELECT identity, status, description, recorded_at, used, reason FROM cells ORDER BY rowid"


class Truth(NamedTuple):
    """The true classes of a cell's images."""

    labels: np.ndarray
    """[N], as recorded."""
    order: np.ndarray
    """[N], what sorts them by the images' indices."""


def read_snapshot(connection: sqlite3.Connection) -> Snapshot:
    """Everything there is.

    Raises: ValueError, TypeError, KeyError or zlib.error for what was damaged.
    """
    rows = connection.execute("SELECT digest, environment FROM environments")
    environments = {digest: json_object(text) for digest, text in rows}
    return Snapshot(
        records=tuple(read_records(connection, environments)),
        failures=tuple(read_failures(connection)),
        environments=environments,
    )


def read_failures(connection: sqlite3.Connection) -> Iterator[FailedCell]:
    """Every failed cell in the order of recording. Raises: ValueError for what was damaged."""
    for identity, spec, description, reason in connection.execute(_FAILED):
        described = decode(Description, json_object(description))
        yield FailedCell(identity=identity, spec=json_object(spec), description=described, reason=reason)


def read_statuses(connection: sqlite3.Connection) -> Iterator[CellStatus]:
    """Every cell attempted so far, in the order of recording. Raises: ValueError for what was damaged."""
    for identity, status, description, recorded_at, used, reason in connection.execute(_STATUS):
        yield CellStatus(
            identity=identity,
            done=status == "done",
            description=decode(Description, json_object(description)),
            recorded=datetime.fromisoformat(recorded_at).timestamp(),
            used=used / 1e9,
            reason=reason,
        )


def read_records(connection: sqlite3.Connection, environments: Mapping[str, Mapping[str, Any]]) -> Iterator[Record]:
    """Every finished cell in the order of its last use; labels are unpacked once for all cells that share them."""

    @functools.cache
    def truth(digest: str) -> Truth:
        row = connection.execute("SELECT labels, indices FROM labels WHERE digest=?", (digest,)).fetchone()
        if row is None:
            raise KeyError(f"labels {digest}")
        labels, indices = map(unpack, row)
        return Truth(labels, np.argsort(indices, kind="stable"))

    trained: dict[str, Mapping[str, Any]] = {}
    for row in connection.execute(_FINISHED):
        yield _record(row, environments, truth, trained)


def _record(
    row: tuple[Any, ...],
    environments: Mapping[str, Mapping[str, Any]],
    truth: Callable[[str], Truth],
    trained: dict[str, Mapping[str, Any]],
) -> Record:
    identity, description, seconds, recorded_at, used, details, environment, labels, predicted = row
    if environment not in environments:
        raise KeyError(f"environment {environment}")
    true, predictions = truth(labels), unpack(predicted)
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
