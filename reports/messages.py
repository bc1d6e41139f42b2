"""What `report` says on standard error; standard output holds the tables alone."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import click

from harness.records.schema import Record

from .collect.collection import Collection, Conflict, Failure
from .collect.conflicting_weights import ConflictingWeights
from .sentence import counted
from .tables.paired import BASELINE

MOST_CONFLICTS = 5
"""The number of conflicts that are described one by one."""
COMPARISONS = ("paired", "claims")
"""The tables that compare defenses."""


def say(text: str) -> None:
    """Print one line on standard error."""
    click.echo(text, err=True)


def say_problems(collection: Collection) -> None:
    """Say what failed, where runs disagree and what is unfinished."""
    say_failures(collection.failures, several=len(collection.runs) > 1)
    _say_conflicts(collection.conflicts)
    for network in collection.conflicting:
        say(_conflicting_weights(network))
    for run, (done, planned) in collection.unfinished.items():
        say(f"{run} is incomplete: {done:,} of {planned:,} planned cells are recorded.")


def say_failures(failures: Iterable[Failure], *, several: bool) -> None:
    """Say which cells failed and why; where `several` runs are reported, in which run."""
    for failure in failures:
        where = f"{failure.run}: " if several else ""
        say(f"failed: {where}{failure.description.defense}, {failure.description.condition}: {failure.reason}")


def say_files(target: Path, files: Iterable[str], *, what: str) -> None:
    """Say in one line how many tables and figures there are, and where they and the page are."""
    paths = [PurePosixPath(name) for name in files]
    names = {folder: {path.stem for path in paths if path.parts[0] == folder} for folder in ("tables", "figures")}
    parts = [f"{counted(len(stems), folder[:-1])} in {target / folder}" for folder, stems in names.items() if stems]
    parts += [f"page {target / path}" for path in paths if len(path.parts) == 1]
    if parts:
        say(f"{what}: {', '.join(parts)}")


def say_missing(names: Sequence[str]) -> None:
    """Say which of the tables and figures asked for have nothing to show."""
    if names:
        say(f"not made, for want of what they show: {', '.join(names)}.")


def say_next(command: str, defenses: Names[str], made: Sequence[str], printed: Names[str]) -> None:
    """Say what to run next: a second defense where there is only one, else the tables that were not printed.

    command: makes this report again.
    made: the names of all tables.
    printed: the names of those on standard output.
    """
    rest = [name for name in made if name not in printed]
    comparisons = [name for name in COMPARISONS if name in rest]
    if len(defenses) == 1:
        (only,) = defenses
        other = BASELINE if only != BASELINE else "NAME (names: python -m harness list defenses)"
        say(f"next: a comparison needs a second defense: run or load another into the same --out: --defense {other}")
    elif comparisons:
        say(f"next: {command} --tables {','.join(comparisons)} (or all) to compare defenses")
    elif rest:
        say(f"next: {command} --tables all to print every table")


def _say_conflicts(conflicts: Sequence[Conflict]) -> None:
    for each in conflicts[:MOST_CONFLICTS]:
        counts = ", ".join(f"{run} {correct}" for run, correct in each.correct.items())
        say(
            f"conflict: {_cell_text(each.record)}: of {each.record.n_images} images right in {counts}; "
            f"{each.differing} predicted differently; that of {next(iter(each.correct))}, recorded first, counts."
        )
    if len(conflicts) > MOST_CONFLICTS:
        say(f"and {len(conflicts) - MOST_CONFLICTS} further conflicts; the page shows them all.")


def _cell_text(record: Record) -> str:
    """The cell in full: “blur (seed 0), cifar10, resnet18, corruption, fog, severity 3, preprocess blur”."""
    named = {"severity": "severity ", "threat": "threat ", "preprocess": "preprocess "}
    values = {name: getattr(record, name) for name in ("dataset", "backbone", "suite", "condition", *named)}
    known = [f"{named.get(name, '')}{value}" for name, value in values.items() if value not in (None, "")]
    return ", ".join([f"{record.defense} (seed {record.seed})", *known])


def _conflicting_weights(network: ConflictingWeights) -> str:
    runs = sorted({*network.counted, *network.left_out})
    left_out = " and ".join(f"{counted(count, 'cell')} of {run}" for run, count in network.left_out.items())
    last = network.last
    return (
        f"conflict: {last.defense} (seed {last.seed}), {last.dataset}, {last.backbone}: "
        f"runs {' and '.join(runs)} trained it to other weights; those of {' and '.join(network.counted)}, used last, "
        f"count; left out: {left_out}."
    )
