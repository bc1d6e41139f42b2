"""What a report is made from: the records and exhibits of one or several runs, merged."""

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
from harness.records.database import FILE_NAME as RECORDS
from harness.records.database import Records
from harness.records.exhibits import Exhibit, Exhibits
from harness.records.plan import read_plan
from harness.records.reading import Contents, Failed, Recorded, tidy

from .cells import Cells
from .retrained import Retrained, retrained


class Failure(NamedTuple):
    """A cell that could not be evaluated. run: its folder's name · shown: what is known of it."""

    run: str
    shown: Mapping[str, Any]
    reason: str


class Conflict(NamedTuple):
    """A cell that runs recorded with different predictions, of which the one recorded first is shown.

    correct: by run, how many images were right, first in the run that counts · differing: images for which not all
    runs predicted the same class.
    """

    identity: str
    shown: Mapping[str, Any]
    images: int
    correct: Mapping[str, int]
    differing: int


class ReadableExhibits(Exhibits):
    """Exhibits of which one that cannot be read is said once and then as good as not there."""

    def __init__(self, runs: Sequence[Path] = ()) -> None:
        super().__init__(runs)
        self._skipped: set[str] = set()

    def __getitem__(self, name: str) -> Exhibit:
        """Raises: KeyError for one that is not there or cannot be read."""
        if name not in self._skipped:
            try:
                return super().__getitem__(name)
            except UserError as error:
                say(f"left out: {error}")
                self._skipped.add(name)
        raise KeyError(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collection:
    """Everything a report shows.

    runs: the folders' names · retrained: networks that runs trained to other weights · environments: by a cell's
    identity, what it was computed with (versions, device, threads, commit) · recipes: by a cell's identity, how its
    network was trained, {} where that is not recorded · unfinished: by run, how many of the cells it last planned are
    recorded and how many there are, where some are missing · digest: of all this, save the exhibits; the same records,
    last used in the same order, have the same.
    """

    runs: tuple[str, ...]
    cells: Cells
    exhibits: Exhibits
    failures: tuple[Failure, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    retrained: tuple[Retrained, ...] = ()
    environments: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    unfinished: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    digest: str = ""


class NothingFinishedError(UserError):
    """There are runs, but none has a finished cell; `failures` says what went wrong instead."""

    def __init__(self, runs: Iterable[str], failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        super().__init__(
            f"no recorded cells to report in {', '.join(runs)}. Run `python -m harness run` first, or wait for it."
        )


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run as it was read; recipes: of its cells, by identity · planned: the cells of its last plan."""

    name: str
    folder: Path
    contents: Contents
    recipes: Mapping[str, Mapping[str, Any]]
    planned: frozenset[str]


class _Found(NamedTuple):
    """A finished cell and where it was found."""

    run: _Run
    cell: Recorded


def collect(folders: Sequence[Path]) -> Collection:
    """Read the runs in these folders, each at one moment, and merge them.

    A cell that several runs recorded counts once: as it was recorded first, and used last when any of them used it
    last. Runs may be going on meanwhile. A folder of exhibits alone, as `bench projection` leaves one, adds these.

    Raises: UserError when a folder cannot be read, see `Records.open`, or there is nothing finished in any.
    """
    distinct = _distinct(folders)
    runs = _read([folder for folder in distinct if len(distinct) == 1 or not _only_exhibits(folder)])
    everywhere: dict[str, list[_Found]] = defaultdict(list)
    for run in runs:
        for cell in run.contents.cells:
            everywhere[cell.identity].append(_Found(run, cell))
    kept = [_first(found) for found in everywhere.values()]
    failures = _failures(runs, everywhere)
    if not kept:
        raise NothingFinishedError((str(run.folder) for run in runs), failures)
    kept.sort(key=lambda found: found.cell.used)
    conflicts = tuple(_conflict(found) for found in everywhere.values() if _differ(found))
    environments = {cell.identity: run.contents.environments[cell.environment] for run, cell in kept}
    exhibits = ReadableExhibits(distinct)
    unfinished = _unfinished(runs, everywhere)
    contested = [conflict.identity for conflict in conflicts]
    cells = _cells([cell for _, cell in kept], environments, exhibits, contested, unfinished)
    again = retrained(cells.recorded, {run.name: [cell.identity for cell in run.contents.cells] for run in runs})
    return Collection(
        runs=tuple(run.name for run in runs),
        cells=cells,
        exhibits=exhibits,
        failures=failures,
        conflicts=conflicts,
        retrained=again,
        environments=environments,
        recipes={cell.identity: run.recipes[cell.identity] for run, cell in kept},
        unfinished=unfinished,
        digest=_digest(runs, kept, failures, conflicts, again, list(unfinished.items())),
    )


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
    """Each folder's records. Raises: UserError for one without records that can be read."""
    shared: dict[str, Mapping[str, Any]] = {}
    runs = []
    for folder, name in zip(folders, run_names(folders), strict=True):
        with Records.open(folder) as records:
            contents = records.contents()
        recipes = {cell.identity: _recipe(cell, shared) for cell in contents.cells}
        runs.append(_Run(name, folder, contents, recipes, _planned(folder)))
    for run in runs:
        if len(runs) > 1 and not run.contents.cells:
            say(f"{run.folder} has no finished cells.")
    return runs


def _planned(folder: Path) -> frozenset[str]:
    """The cells of a run's plan; none where that is not there, or not made yet."""
    plan = read_plan(folder)
    pieces = plan.pieces if plan is not None and plan.pieces is not None else ()
    return frozenset(name for piece in pieces for name in piece.cells)


def _recipe(cell: Recorded, shared: dict[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """How a cell's network was trained; one object for all cells of it."""
    trained = json.loads(cell.details or "{}").get("trained") or {}
    return shared.setdefault(json.dumps(trained, sort_keys=True), trained)


def _first(found: Sequence[_Found]) -> _Found:
    """The cell as it was recorded first, last used when any run last used it."""
    first = min(found, key=lambda each: each.cell.recorded_at)
    return first._replace(cell=first.cell._replace(used=max(each.cell.used for each in found)))


def _cells(
    recorded: Sequence[Recorded],
    environments: Mapping[str, Mapping[str, Any]],
    exhibits: Exhibits,
    contested: Iterable[str],
    unfinished: Mapping[str, tuple[int, int]],
) -> Cells:
    by_identity = {cell.identity: cell for cell in recorded}
    frame = tidy(recorded, lambda cell: str(environments[cell.identity].get("device", "")))
    return Cells(frame, lambda identity: by_identity[identity].correct(), exhibits, contested, unfinished)


def _unfinished(runs: Sequence[_Run], finished: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Of every run with planned cells that no run recorded, how many were and how many are planned."""
    done = {run.name: len(run.planned & finished.keys()) for run in runs}
    return {run.name: (done[run.name], len(run.planned)) for run in runs if done[run.name] < len(run.planned)}


def _failures(runs: Sequence[_Run], finished: Mapping[str, Any]) -> tuple[Failure, ...]:
    """The failures of every run that none of them made good."""
    trained = {json.dumps(recipe, sort_keys=True) for run in runs for recipe in run.recipes.values()}
    return tuple(
        Failure(run.name, failed.shown, failed.reason)
        for run in runs
        for failed in run.contents.failures
        if failed.identity not in finished and _training(failed) not in trained
    )


def _training(failed: Failed) -> str | None:
    """How the network was to be trained, where it is that training that failed."""
    about = failed.spec.get("training")
    return None if about is None else json.dumps(about, sort_keys=True)


def _digest(runs: Sequence[_Run], kept: Sequence[_Found], *others: Sequence[Any]) -> str:
    names = [run.name for run in runs]
    cells = [
        (cell.identity, cell.predicted, cell.shown, cell.details, cell.seconds, cell.recorded_at, cell.environment)
        for _, cell in kept
    ]
    return digest_of({"runs": names, "cells": cells, "others": others})


def _differ(found: Sequence[_Found]) -> bool:
    return len({each.cell.predicted for each in found}) > 1


def _conflict(found: Sequence[_Found]) -> Conflict:
    ordered = sorted(found, key=lambda each: each.cell.recorded_at)
    cell = ordered[0].cell
    return Conflict(
        identity=cell.identity,
        shown=cell.shown,
        images=cell.n_images,
        correct={each.run.name: each.cell.n_correct for each in ordered},
        differing=_differing(ordered),
    )


def _differing(found: Iterable[_Found]) -> int:
    """How many images not all runs gave the same class."""
    predictions = []
    for run, cell in found:
        with Records.open(run.folder) as records:
            predictions.append(records.predictions(cell.identity))
        if len(predictions[-1]) != len(predictions[0]):
            raise UserError(f"expected the same images in cell {cell.identity} of all runs. Leave out {run.folder}.")
    return int(np.any([a != b for a, b in itertools.pairwise(predictions)], axis=0).sum())
