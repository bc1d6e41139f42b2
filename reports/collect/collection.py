"""What a report is made from: the merged records and exhibits of one or several runs."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.cache import digest_of
from harness.errors import UserError
from harness.progress import say
from harness.records.codec import plain
from harness.records.database import FILE_NAME as RECORDS
from harness.records.database import Records
from harness.records.exhibits import Exhibit, Exhibits
from harness.records.plan import read_plan
from harness.records.schema import Description, FailedCell, Record, Snapshot

from .cells import Cells
from .conflicting_weights import ConflictingWeights, conflicting_weights


class Failure(NamedTuple):
    """A cell or a training that ended with an error."""

    run: str
    """Its folder's name."""
    description: Description
    reason: str


class Conflict(NamedTuple):
    """A cell that runs recorded with different predictions."""

    record: Record
    """The one recorded first, which counts."""
    correct: Mapping[str, int]
    """By run, the number of correct images; the run that counts is the first."""
    differing: int
    """The number of images for which runs predicted different classes."""


class ReadableExhibits(Exhibits):
    """Exhibits; one that cannot be read is reported once, and is missing from then on."""

    def __init__(self, runs: Sequence[Path] = ()) -> None:
        super().__init__(runs)
        self._skipped: set[str] = set()

    def __getitem__(self, name: str) -> Exhibit:
        """Raises: KeyError for an exhibit that is missing or cannot be read."""
        if name not in self._skipped:
            try:
                return super().__getitem__(name)
            except UserError as error:
                say(f"left out: {error}")
                self._skipped.add(name)
        raise KeyError(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collection:
    """Everything a report shows."""

    runs: tuple[str, ...]
    """The folders' names."""
    cells: Cells
    exhibits: Exhibits
    failures: tuple[Failure, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    conflicting: tuple[ConflictingWeights, ...] = ()
    """Networks to which runs gave different weights."""
    environments: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """By digest, what cells were computed with: versions, device, threads, commit."""
    unfinished: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    """By unfinished run, how many cells of its last plan are recorded, and how many were planned."""
    digest: str = ""
    """A digest of all fields but the exhibits; it also depends on the order in which records were last used."""


class NothingFinishedError(UserError):
    """No run has a finished cell; `failures` says what went wrong."""

    def __init__(self, runs: Iterable[str], failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        super().__init__(
            f"no recorded cells to report in {', '.join(runs)}. Run `python -m harness run` first, or wait for it."
        )


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run as it was read."""

    name: str
    folder: Path
    snapshot: Snapshot
    planned: frozenset[str]
    """The identities of the cells of its last plan."""


class _Recorded(NamedTuple):
    """A record and the run that holds it."""

    run: _Run
    record: Record


def collect(folders: Sequence[Path]) -> Collection:
    """Read the runs in these folders, each from one snapshot, and merge them.

    A cell that several runs recorded counts once: the first record, with the latest time of use of all. Runs may
    still be writing. A folder may hold exhibits alone, as one of `bench projection` does.

    Raises: UserError when a folder cannot be read, see `Records.open`, or there is nothing finished in any.
    """
    distinct = _distinct(folders)
    runs = _read([folder for folder in distinct if len(distinct) == 1 or not _only_exhibits(folder)])
    by_identity: dict[str, list[_Recorded]] = defaultdict(list)
    for run in runs:
        for record in run.snapshot.records:
            by_identity[record.identity].append(_Recorded(run, record))
    failures = _failures(runs, by_identity)
    if not by_identity:
        raise NothingFinishedError((str(run.folder) for run in runs), failures)
    records = sorted(map(_first, by_identity.values()), key=lambda record: record.used)
    conflicts = tuple(
        _conflict(several) for several in by_identity.values() if len({each.record.predicted for each in several}) > 1
    )
    exhibits, unfinished = ReadableExhibits(distinct), _unfinished(runs, by_identity)
    cells = Cells(records, exhibits, [conflict.record.identity for conflict in conflicts], unfinished)
    members = {run.name: [record.identity for record in run.snapshot.records] for run in runs}
    collection = Collection(
        runs=tuple(run.name for run in runs),
        cells=cells,
        exhibits=exhibits,
        failures=failures,
        conflicts=conflicts,
        conflicting=conflicting_weights(cells.recorded, members),
        environments={digest: each for run in runs for digest, each in run.snapshot.environments.items()},
        unfinished=unfinished,
    )
    return dataclasses.replace(collection, digest=_digest(collection, records))


def run_names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, each with as many of its parents as tell it from the others.

    >>> run_names([Path("/here/a/run"), Path("/here/b/run"), Path("/here/demo")])
    ['a/run', 'b/run', 'demo']
    """
    parts = [folder.resolve().parts for folder in folders]
    lengths = [1] * len(parts)
    while True:
        names = ["/".join(part[-length:]) for part, length in zip(parts, lengths, strict=True)]
        counts = Counter(names)
        longer = [
            length + (counts[name] > 1 and length < len(part))
            for name, part, length in zip(names, parts, lengths, strict=True)
        ]
        if longer == lengths:
            return names
        lengths = longer


def _distinct(folders: Sequence[Path]) -> list[Path]:
    """The folders, each once. Raises: UserError for none."""
    distinct = list({Path(folder).resolve(): Path(folder) for folder in reversed(folders)}.values())[::-1]
    if not distinct:
        raise UserError("expected at least one run folder, got none.")
    if len(distinct) < len(folders):
        say("a run folder was given more than once; it is read once.")
    return distinct


def _only_exhibits(folder: Path) -> bool:
    return not (folder / RECORDS).exists() and len(Exhibits([folder])) > 0


def _read(folders: Sequence[Path]) -> list[_Run]:
    """The run in each folder. Raises: UserError for a folder whose records cannot be read."""
    runs = []
    for folder, name in zip(folders, run_names(folders), strict=True):
        with Records.open(folder) as records:
            runs.append(_Run(name, folder, records.snapshot(), _planned(folder)))
    for run in runs:
        if len(runs) > 1 and not run.snapshot.records:
            say(f"{run.folder} has no finished cells.")
    return runs


def _planned(folder: Path) -> frozenset[str]:
    """The cells of a run's plan; none where there is no plan yet."""
    plan = read_plan(folder)
    jobs = plan.jobs if plan is not None and plan.jobs is not None else ()
    return frozenset(identity for job in jobs for identity in job.cells)


def _first(several: Sequence[_Recorded]) -> Record:
    """The record of a cell that was made first, with the latest time of use of all."""
    first = min(several, key=lambda each: each.record.recorded_at).record
    return dataclasses.replace(first, used=max(each.record.used for each in several))


def _unfinished(runs: Sequence[_Run], finished: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """For each run with planned cells that no run has recorded: how many are recorded, and how many were planned."""
    done = {run.name: len(run.planned & finished.keys()) for run in runs}
    return {run.name: (done[run.name], len(run.planned)) for run in runs if done[run.name] < len(run.planned)}


def _failures(runs: Sequence[_Run], finished: Mapping[str, Any]) -> tuple[Failure, ...]:
    """The failures of all runs, without cells and trainings that succeeded in some run."""
    trainings = {id(record.details.trained): record.details.trained for run in runs for record in run.snapshot.records}
    trained = {json.dumps(training, sort_keys=True) for training in trainings.values()}
    return tuple(
        Failure(run.name, failed.description, failed.reason)
        for run in runs
        for failed in run.snapshot.failures
        if failed.identity not in finished and _training(failed) not in trained
    )


def _training(failed: FailedCell) -> str | None:
    """The settings of the training that failed; None where something else failed."""
    training = failed.spec.get("training")
    return None if training is None else json.dumps(training, sort_keys=True)


def _digest(collection: Collection, records: Sequence[Record]) -> str:
    conflicts = [(each.record.identity, each.correct, each.differing) for each in collection.conflicts]
    conflicting = [(each.last.identity, each.counted, each.left_out) for each in collection.conflicting]
    return digest_of(
        {
            "runs": collection.runs,
            "records": [_values(record) for record in records],
            "failures": [(each.run, plain(each.description), each.reason) for each in collection.failures],
            "conflicts": conflicts,
            "conflicting": conflicting,
            "unfinished": collection.unfinished,
        }
    )


def _values(record: Record) -> dict[str, Any]:
    """The fields of a record that a report shows; the digest of its predictions stands for its outcomes."""
    values = {name: value for name, value in plain(record).items() if name not in ("used", "outcome_bits")}
    return {**values, "details": plain(record.details)}


def _conflict(several: Sequence[_Recorded]) -> Conflict:
    ordered = sorted(several, key=lambda each: each.record.recorded_at)
    correct = {each.run.name: each.record.n_correct for each in ordered}
    return Conflict(ordered[0].record, correct, _differing(ordered))


def _differing(several: Iterable[_Recorded]) -> int:
    """The number of images for which runs predicted different classes."""
    predictions = []
    for run, record in several:
        with Records.open(run.folder) as records:
            predictions.append(records.predictions(record.identity))
        if len(predictions[-1]) != len(predictions[0]):
            raise UserError(f"expected the same images in cell {record.identity} of all runs. Leave out {run.folder}.")
    return int(np.any([a != b for a, b in itertools.pairwise(predictions)], axis=0).sum())
