"""What a report is made from: the records and exhibits of one or several runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.exhibits import Exhibits
from harness.records import Records

from .cells import Cells


class Failure(NamedTuple):
    """A cell that could not be evaluated. run: its folder's name · shown: what is known of it."""

    run: str
    shown: Mapping[str, Any]
    reason: str


class Conflict(NamedTuple):
    """A cell that runs recorded with different predictions. correct: by run, how many images were right."""

    identity: str
    shown: Mapping[str, Any]
    images: int
    correct: Mapping[str, int]
    differing: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collection:
    """Everything a report shows.

    runs: the folders' names · environments: by a cell's identity, what it was computed with (versions, device,
    threads, commit) · recipes: by a cell's identity, how its network was trained, {} where that is not recorded.
    """

    runs: tuple[str, ...]
    cells: Cells
    exhibits: Exhibits
    failures: tuple[Failure, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    environments: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def collect(folders: Sequence[Path]) -> Collection:
    """Read the runs in these folders. Raises: UserError when there is nothing to read, see `Records.open`."""
    (folder,) = folders
    with Records.open(folder) as records:
        failures = tuple(Failure(folder.name, shown, reason) for shown, reason in records.failures())
        outcomes = {name: records.correct(name) for name in records.frame()["identity"]}
        exhibits = Exhibits(folders)
        cells = Cells(records.frame(), outcomes.__getitem__, exhibits)
    return Collection(runs=(folder.name,), cells=cells, exhibits=exhibits, failures=failures)
