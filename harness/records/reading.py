"""Finished cells as they come out of a records file: read in one pass, each blob unpacked once."""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.metrics import wilson

if TYPE_CHECKING:
    import pandas as pd

TIDY_COLUMNS = [
    "dataset",
    "backbone",
    "defense",
    "seed",
    "suite",
    "condition",
    "severity",
    "threat",
    "preprocess",
    "n_images",
    "n_correct",
    "accuracy",
    "ci_low",
    "ci_high",
    "family",
    "attack",
    "norm",
    "epsilon",
    "epsilon_space",
    "source",
    "preset",
    "seconds",
    "device",
    "details",
    "recorded_at",
    "epochs",
    "train_images",
    "amp",
    "altered",
    "gradient",
    "draws",
    "stage",
    "transfer_from",
    "data",
    "weights",
    "identity",
]
_IDENTIFYING = ("dataset", "backbone", "defense", "seed", "suite", "condition")
"""Those of the columns without which a cell is of nothing."""
_WHOLE = ("severity", "seed", "epochs", "train_images", "draws")
_NUMBERS = {**dict.fromkeys(_WHOLE, (int, type(None))), "epsilon": (int, float, type(None))}
_FINISHED = (
    "SELECT identity, shown, seconds, recorded_at, used, details, environment, answers, predictions "
    "FROM cells WHERE status='done' ORDER BY used, cells.rowid"
)

_FAILED = "SELECT identity, shown, spec, reason FROM cells WHERE status='failed' ORDER BY rowid"


class Recorded(NamedTuple):
    """A finished cell.

    details: JSON · used: when a run last used it, in nanoseconds · environment: its digest · outcomes: which images
    were right, in the order of their indices, eight to a byte as `np.packbits` has them · predicted: a digest of the
    predictions as they were recorded, in an order that the identity fixes.
    """

    identity: str
    shown: dict[str, Any]
    seconds: float
    recorded_at: str
    used: int
    details: str
    environment: str
    n_images: int
    n_correct: int
    outcomes: np.ndarray
    predicted: str

    def correct(self) -> np.ndarray:
        """Which images were classified correctly: [N] bool."""
        return np.unpackbits(self.outcomes, count=self.n_images).view(bool)


class Failed(NamedTuple):
    """A cell or a training that could not be had; spec: what its identity is a hash of."""

    identity: str
    shown: dict[str, Any]
    spec: dict[str, Any]
    reason: str


class Contents(NamedTuple):
    """All that a records file held at one moment; environments: by their digests."""

    cells: list[Recorded]
    failures: list[Failed]
    environments: dict[str, dict[str, Any]]


class Answers(NamedTuple):
    """labels: [N], as recorded · order: [N], what puts them in the order of the images' indices."""

    labels: np.ndarray
    order: np.ndarray


def read_contents(connection: sqlite3.Connection) -> Contents:
    """Everything, cells in the order of their last use, failures in that of their recording.

    Raises: ValueError, TypeError, KeyError or zlib.error for what was damaged.
    """
    found = connection.execute("SELECT digest, environment FROM environments")
    environments = {digest: _object(text) for digest, text in found}
    cells = list(read_recorded(connection))
    for cell in cells:
        if cell.environment not in environments:
            raise KeyError(f"environment {cell.environment}")
    failures = connection.execute(_FAILED)
    return Contents(
        cells,
        [Failed(name, _object(shown), _object(spec), reason) for name, shown, spec, reason in failures],
        environments,
    )


def read_recorded(connection: sqlite3.Connection) -> Iterator[Recorded]:
    """Every finished cell in the order of its last use; labels are unpacked once for all cells that share them."""

    @functools.cache
    def answers(digest: str) -> Answers:
        row = connection.execute("SELECT labels, indices FROM answers WHERE digest=?", (digest,)).fetchone()
        if row is None:
            raise KeyError(f"labels {digest}")
        labels, indices = map(unpack, row)
        return Answers(labels, np.argsort(indices, kind="stable"))

    return (_recorded(row, answers) for row in connection.execute(_FINISHED))


def _recorded(row: tuple[Any, ...], answers: Callable[[str], Answers]) -> Recorded:
    identity, shown, seconds, recorded_at, used, details, environment, digest, packed = row
    labels, order = answers(digest)
    predictions = unpack(packed)
    correct = (predictions == labels)[order]
    return Recorded(
        identity=identity,
        shown=_shown(shown),
        seconds=seconds,
        recorded_at=recorded_at,
        used=used,
        details=_details(details or "{}"),
        environment=environment,
        n_images=len(correct),
        n_correct=int(correct.sum()),
        outcomes=np.packbits(correct),
        predicted=hashlib.sha256(predictions.tobytes()).hexdigest(),
    )


def _shown(text: str) -> dict[str, Any]:
    """What is shown of a finished cell. Raises: ValueError for what is not that."""
    shown = _object(text)
    for name in _IDENTIFYING:
        if shown.get(name) in (None, ""):
            raise ValueError(f"a cell without {name}")
    for name, kinds in _NUMBERS.items():
        if not isinstance(shown.get(name), kinds):
            raise ValueError(f"a cell with {name} {shown[name]!r}")
    return shown


def _details(text: str) -> str:
    """Raises: ValueError for what does not tell how a network was trained, nor leaves that out."""
    if not isinstance(_object(text).get("trained"), dict | None):
        raise ValueError(f"expected how a network was trained, found {text[:40]}")
    return text


def _object(text: str) -> dict[str, Any]:
    """Raises: ValueError for what is no object in JSON."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, found {text[:20]}")
    return found


def tidy(cells: Iterable[Recorded], device: Callable[[Recorded], str]) -> pd.DataFrame:
    """One row (TIDY_COLUMNS) per cell, in the order given; accuracies in percent, with Wilson's 95 % interval."""
    import pandas as pd

    frame = pd.DataFrame([_tidy(cell, device(cell)) for cell in cells], columns=TIDY_COLUMNS)
    return frame.astype({**dict.fromkeys(_WHOLE, "Int64"), "epsilon": "float64"})


def _tidy(cell: Recorded, device: str) -> dict[str, Any]:
    low, high = wilson(cell.n_correct, cell.n_images)
    return {
        **cell.shown,
        "identity": cell.identity,
        "n_images": cell.n_images,
        "n_correct": cell.n_correct,
        "accuracy": 100 * cell.n_correct / cell.n_images,
        "ci_low": 100 * low,
        "ci_high": 100 * high,
        "seconds": cell.seconds,
        "device": device,
        "details": cell.details,
        "recorded_at": cell.recorded_at,
    }


def unpack(blob: bytes) -> np.ndarray:
    """Integers [N] from how they are kept."""
    return np.frombuffer(zlib.decompress(blob), dtype="<i4")
