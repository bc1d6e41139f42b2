"""How far a run is, from its plan, its records and its training states; it only reads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import UserError
from harness.records.plan import Plan, PlannedTraining, read_plan

if TYPE_CHECKING:
    from harness.records.schema import CellStatus

SPEED_SECONDS = 300.0
"""The speed is measured over this many seconds before now."""
MOST_RECENT = 5
"""How many accuracies and failures are kept."""


class TrainingProgress(NamedTuple):
    """A network that is to be trained."""

    what: str
    done: int
    """Epochs."""
    epochs: int
    """How many it is trained for in all."""


class Accuracy(NamedTuple):
    """The outcome of a cell."""

    what: str
    correct: int
    images: int


class RunProgress(NamedTuple):
    """How far a run is at one moment."""

    run: Path
    running: bool
    trainings: tuple[TrainingProgress, ...]
    cells: int
    """How many are recorded; where there is a plan, of its cells only."""
    planned: int | None
    """How many cells there will be; None before that is known."""
    left: int | None
    """How many of them this run has yet to attempt."""
    failed: int
    """Cells and trainings that failed in this run."""
    per_minute: float | None
    """Cells recorded a minute, lately; None before the run's first and after the run's end."""
    current: str
    """The job that is being scored; "" where that is not known."""
    accuracies: tuple[Accuracy, ...]
    """The most recent, latest first."""
    failures: tuple[str, ...]
    """The most recent, latest first."""

    @property
    def minutes_left(self) -> float | None:
        """At the present speed; None where that cannot be told."""
        return None if self.left is None or not self.per_minute else self.left / self.per_minute

    @property
    def state(self) -> str:
        """A run is preparing before its first training, and between the last one and the first cell."""
        if not self.running:
            return "not running"
        return "preparing" if self.planned is None and not self.in_training else "running"

    @property
    def trained(self) -> int:
        """How many networks are trained."""
        return sum(training.done >= training.epochs for training in self.trainings)

    @property
    def in_training(self) -> list[TrainingProgress]:
        """The trainings that have begun and, before any cell is planned in a running run, the next one."""
        unfinished = [training for training in self.trainings if training.done < training.epochs]
        following = unfinished[: int(self.running and self.planned is None)]
        return [training for training in unfinished if training.done > 0 or training in following]


def progress_of(run: Path) -> RunProgress:
    """How far a run is at this moment.

    Raises: UserError where no run has written, or its records cannot be read.
    """
    from harness.records.connection import is_locked
    from harness.records.database import FILE_NAME, Records

    plan, running = read_plan(run), is_locked(run)
    has_records = (run / FILE_NAME).is_file()
    if plan is None and not has_records and not running:
        raise UserError(f"expected a run in {run}, found neither a plan nor records. Give it the --out of the run.")
    if not has_records:
        return _progress(run, running, plan, [], [])
    with Records.open(run) as records:
        cells = records.statuses()
        recent = [cell for cell in reversed(cells) if cell.done][:MOST_RECENT]
        correct = [records.correct(cell.identity) for cell in recent]
    accuracies = [
        Accuracy(_text(cell), int(right.sum()), len(right)) for cell, right in zip(recent, correct, strict=True)
    ]
    return _progress(run, running, plan, cells, accuracies)


def _progress(
    run: Path, running: bool, plan: Plan | None, cells: Sequence[CellStatus], accuracies: Sequence[Accuracy]
) -> RunProgress:
    planned = None if plan is None or plan.jobs is None else {name for job in plan.jobs for name in job.cells}
    since = 0.0 if plan is None else plan.started
    done = {cell.identity for cell in cells if cell.done and (planned is None or cell.identity in planned)}
    failed = [cell for cell in cells if not cell.done and cell.used >= since]
    attempted = done | {cell.identity for cell in failed}
    return RunProgress(
        run=run,
        running=running,
        trainings=() if plan is None else tuple(_training(run, each) for each in plan.trainings),
        cells=len(done),
        planned=None if planned is None else len(planned),
        left=None if planned is None else len(planned - attempted),
        failed=len(failed),
        per_minute=_speed(cells, since) if running else None,
        current=_current(plan, attempted) if running else "",
        accuracies=tuple(accuracies),
        failures=tuple(f"{_text(cell)}: {cell.reason}" for cell in reversed(failed[-MOST_RECENT:])),
    )


def _training(run: Path, planned: PlannedTraining) -> TrainingProgress:
    checkpoint = run / planned.checkpoint
    if checkpoint.is_file():
        return TrainingProgress(planned.what, planned.epochs, planned.epochs)
    if not checkpoint.with_suffix(".state").is_file():
        return TrainingProgress(planned.what, 0, planned.epochs)
    from harness.training.state import epochs_done

    return TrainingProgress(planned.what, min(epochs_done(checkpoint), planned.epochs - 1), planned.epochs)


def _speed(cells: Sequence[CellStatus], since: float) -> float | None:
    """Cells a minute, from the first of the last SPEED_SECONDS until now; None where this run recorded none."""
    now = time.time()
    recorded = [cell.recorded for cell in cells if cell.done and cell.recorded >= since - 1]
    if not recorded:
        return None
    recent = [moment for moment in recorded if moment >= now - SPEED_SECONDS]
    return 60 * len(recent) / max(1.0, now - min(recent)) if recent else 0.0


def _current(plan: Plan | None, attempted: set[str]) -> str:
    """The first job with cells that were not attempted yet: jobs are scored in this order."""
    jobs = plan.jobs if plan is not None and plan.jobs is not None else ()
    return next((job.what for job in jobs if not attempted.issuperset(job.cells)), "")


def _text(cell: CellStatus) -> str:
    names = ("defense", "condition", "severity", "threat", "preprocess")
    return ", ".join(str(value) for name in names if (value := getattr(cell.description, name)))
