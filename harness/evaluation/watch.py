"""Shows how far a run is: drawn in a terminal, a line for every change elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.evaluation.run_progress import RunProgress, TrainingProgress, progress_of

if TYPE_CHECKING:
    from rich.console import RenderableType


def follow(run: Path, every: float) -> None:
    """Show a run's progress every so many seconds until it ends or Ctrl-C is pressed."""
    with contextlib.suppress(KeyboardInterrupt):
        (_draw if sys.stdout.isatty() else _print)(_moments(run, every))


def lines(progress: RunProgress) -> Iterator[str]:
    """All that is known, a line each, "name: value"."""
    yield f"run: {progress.run}"
    yield f"state: {progress.state}"
    if progress.trainings:
        yield f"trained: {progress.trained} of {len(progress.trainings)}"
    yield from map(_epochs, progress.in_training)
    yield _cells(progress)
    yield f"failed: {progress.failed}"
    if progress.per_minute is not None:
        yield f"speed: {progress.per_minute:.1f} cells a minute"
    if progress.current:
        yield f"working on: {progress.current}"
    if progress.running and progress.minutes_left is not None:
        yield f"left: about {_duration(progress.minutes_left)}"
    for what, correct, images in progress.accuracies:
        yield f"last: {what}: {100 * correct / images:.1f} % of {images:,}"
    for failure in progress.failures:
        yield f"failure: {failure}"


def in_short(progress: RunProgress) -> str:
    """One line: how many cells are recorded and what the run is working on."""
    failed = [f"failed: {progress.failed}"] if progress.failed else []
    training = [_epochs(training) for training in progress.in_training] if progress.running else []
    scoring = [f"working on: {progress.current}"] if progress.current else []
    return ", ".join([_cells(progress), *failed, *(training or scoring or [progress.state])])


def _cells(progress: RunProgress) -> str:
    return f"cells: {progress.cells}{'' if progress.planned is None else f' of {progress.planned}'}"


def _epochs(training: TrainingProgress) -> str:
    return f"training: {training.what}, {training.done} of {training.epochs} epochs"


def _duration(minutes: float) -> str:
    whole = max(1, round(minutes))
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60} min"


def _moments(run: Path, every: float) -> Iterator[RunProgress]:
    """The progress every so many seconds, the last time when the run has ended."""
    yield (progress := progress_of(run))
    while progress.running:
        time.sleep(every)
        yield (progress := progress_of(run))


def _print(moments: Iterator[RunProgress]) -> None:
    """A line for every change, for a file or another program."""
    printed = ""
    for progress in moments:
        if (line := in_short(progress)) != printed:
            click.echo(line)
            printed = line


def _draw(moments: Iterator[RunProgress]) -> None:
    """A bar and all that is known, drawn over what was there before."""
    from rich.live import Live

    with Live(_panel(next(moments)), auto_refresh=False) as live:
        for progress in moments:
            live.update(_panel(progress), refresh=True)


def _panel(progress: RunProgress) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    bars = [ProgressBar(total=progress.planned, completed=progress.cells, width=60)] if progress.planned else []
    return Group(*bars, *(Text(line, overflow="ellipsis", no_wrap=True) for line in lines(progress)))
