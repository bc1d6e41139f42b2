"""How far a run is, from its plan, its records and its training states; it only reads."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from harness.errors import UserError
from harness.records.plan import Plan, PlannedTraining, read_plan

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harness.records.schema import CellStatus

WINDOW = 300.0
"""Seconds over which the speed is taken."""
SHOWN = 5
"""How many of the last accuracies and failures are shown."""


class Training(NamedTuple):
    """A network that is to be trained, and how many of its epochs are done."""

    what: str
    done: int
    epochs: int


class Accuracy(NamedTuple):
    """What a cell came to."""

    what: str
    correct: int
    images: int


class Progress(NamedTuple):
    """How far a run is.

    cells: how many are recorded, of the plan where there is one · planned: how many there will be, None where that
    is not known yet · left: how many of them were not tried yet · failed: cells and trainings, in this run ·
    per_minute: how fast cells were recorded lately, None
    before the run's first and after its end · working_on: "" where that is not known · accuracies, failures:
    the last ones, the very last first.
    """

    run: Path
    running: bool
    trainings: tuple[Training, ...]
    cells: int
    planned: int | None
    left: int | None
    failed: int
    per_minute: float | None
    working_on: str
    accuracies: tuple[Accuracy, ...]
    failures: tuple[str, ...]

    @property
    def minutes_left(self) -> float | None:
        """At the speed of late; None where that cannot be told."""
        return None if self.left is None or not self.per_minute else self.left / self.per_minute

    @property
    def state(self) -> str:
        """Preparing is before the first training begins, and between the last one and the first cell."""
        if not self.running:
            return "not running"
        return "preparing" if self.planned is None and not self.in_training else "running"

    @property
    def trained(self) -> int:
        """How many networks are trained."""
        return sum(training.done >= training.epochs for training in self.trainings)

    @property
    def in_training(self) -> list[Training]:
        """Those that were begun and, while the run goes on, the next one."""
        unfinished = [training for training in self.trainings if training.done < training.epochs]
        next_one = unfinished[: int(self.running and self.planned is None)]
        return [training for training in unfinished if training.done > 0 or training in next_one]


def follow(run: Path, every: float) -> None:
    """Show a run's progress every so many seconds until it ends or Ctrl-C: drawn in a terminal, else line by line."""
    with contextlib.suppress(KeyboardInterrupt):
        (_draw if sys.stdout.isatty() else _tell)(_looks(run, every))


def look(run: Path) -> Progress:
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
        states = records.statuses()
        done = [state for state in reversed(states) if state.done][:SHOWN]
        correct = [records.correct(state.identity) for state in done]
    accuracies = [
        Accuracy(_text(state), int(right.sum()), len(right)) for state, right in zip(done, correct, strict=True)
    ]
    return _progress(run, running, plan, states, accuracies)


def _progress(
    run: Path, running: bool, plan: Plan | None, states: Sequence[CellStatus], accuracies: Sequence[Accuracy]
) -> Progress:
    planned = None if plan is None or plan.jobs is None else {name for job in plan.jobs for name in job.cells}
    since = 0.0 if plan is None else plan.started
    done = {state.identity for state in states if state.done and (planned is None or state.identity in planned)}
    failed = [state for state in states if not state.done and state.used >= since]
    tried = done | {state.identity for state in failed}
    return Progress(
        run=run,
        running=running,
        trainings=() if plan is None else tuple(_training(run, each) for each in plan.trainings),
        cells=len(done),
        planned=None if planned is None else len(planned),
        left=None if planned is None else len(planned - tried),
        failed=len(failed),
        per_minute=_speed(states, since) if running else None,
        working_on=_working_on(plan, tried) if running else "",
        accuracies=tuple(accuracies),
        failures=tuple(f"{_text(state)}: {state.reason}" for state in reversed(failed[-SHOWN:])),
    )


def _training(run: Path, planned: PlannedTraining) -> Training:
    checkpoint = run / planned.checkpoint
    if checkpoint.is_file():
        return Training(planned.what, planned.epochs, planned.epochs)
    if not checkpoint.with_suffix(".state").is_file():
        return Training(planned.what, 0, planned.epochs)
    from harness.training.state import epochs_done

    return Training(planned.what, min(epochs_done(checkpoint), planned.epochs - 1), planned.epochs)


def _speed(states: Sequence[CellStatus], since: float) -> float | None:
    """Cells a minute, from the first one recorded lately until now; None where none was since the run began."""
    now = time.time()
    scored = [state.recorded for state in states if state.done and state.recorded >= since - 1]
    if not scored:
        return None
    recent = [recorded for recorded in scored if recorded >= now - WINDOW]
    return 60 * len(recent) / max(1.0, now - min(recent)) if recent else 0.0


def _working_on(plan: Plan | None, tried: set[str]) -> str:
    """The first job with cells that were not tried yet; they are scored in this order."""
    jobs = plan.jobs if plan is not None and plan.jobs is not None else ()
    return next((job.what for job in jobs if not tried.issuperset(job.cells)), "")


def _text(state: CellStatus) -> str:
    names = ("defense", "condition", "severity", "threat", "preprocess")
    return ", ".join(str(value) for name in names if (value := getattr(state.description, name)))


def lines(progress: Progress) -> Iterator[str]:
    """What is known, a line each, "name: value"."""
    yield f"run: {progress.run}"
    yield f"state: {progress.state}"
    if progress.trainings:
        yield f"trained: {progress.trained} of {len(progress.trainings)}"
    for training in progress.in_training:
        yield _epochs(training)
    yield _counted(progress)
    yield f"failed: {progress.failed}"
    if progress.per_minute is not None:
        yield f"speed: {progress.per_minute:.1f} cells a minute"
    if progress.working_on:
        yield f"working on: {progress.working_on}"
    if progress.running and progress.minutes_left is not None:
        yield f"left: about {_duration(progress.minutes_left)}"
    for what, correct, images in progress.accuracies:
        yield f"last: {what}: {100 * correct / images:.1f} % of {images:,}"
    for failure in progress.failures:
        yield f"failure: {failure}"


def in_short(progress: Progress) -> str:
    """One line: how many cells are there and what is being worked on."""
    failed = [f"failed: {progress.failed}"] if progress.failed else []
    training = [_epochs(training) for training in progress.in_training] if progress.running else []
    scoring = [f"working on: {progress.working_on}"] if progress.working_on else []
    return ", ".join([_counted(progress), *failed, *(training or scoring or [progress.state])])


def _counted(progress: Progress) -> str:
    return f"cells: {progress.cells}{'' if progress.planned is None else f' of {progress.planned}'}"


def _epochs(training: Training) -> str:
    return f"training: {training.what}, {training.done} of {training.epochs} epochs"


def _duration(minutes: float) -> str:
    whole = max(1, round(minutes))
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60} min"


def _looks(run: Path, every: float) -> Iterator[Progress]:
    """The progress over and over, the last time when the run has ended."""
    yield (progress := look(run))
    while progress.running:
        time.sleep(every)
        yield (progress := look(run))


def _tell(looks: Iterator[Progress]) -> None:
    """A line for every change, for a file or another program."""
    told = ""
    for progress in looks:
        if (line := in_short(progress)) != told:
            click.echo(line)
            told = line


def _draw(looks: Iterator[Progress]) -> None:
    """A bar and what is known, drawn over what was there before."""
    from rich.live import Live

    with Live(_panel(next(looks)), auto_refresh=False) as live:
        for progress in looks:
            live.update(_panel(progress), refresh=True)


def _panel(progress: Progress) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    bars = [ProgressBar(total=progress.planned, completed=progress.cells, width=60)] if progress.planned else []
    return Group(*bars, *(Text(line, overflow="ellipsis", no_wrap=True) for line in lines(progress)))
