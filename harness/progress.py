"""Progress on standard error: bars in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
LOG_SECONDS = 30.0
"""Between two lines of progress where standard error is not a terminal."""
console = Console(stderr=True)
_active: list[Progress] = []


def track(items: Sequence[Item] | Iterable[Item], what: str, *, total: int | None = None) -> Iterator[Item]:
    """Iterate while a bar labelled `what` shows how far it is; bars nest, and vanish when done."""
    count = total if total is not None else len(items) if isinstance(items, Sequence) else None
    if not sys.stderr.isatty():
        yield from _logged(items, what, count)
        return
    outermost = not _active
    if outermost:
        _active.append(_new_bar())
        _active[0].start()
    bar = _active[0]
    task = bar.add_task(what, total=count)
    try:
        for item in items:
            yield item
            bar.advance(task)
    finally:
        bar.remove_task(task)
        if outermost:
            _active.pop().stop()


def say(text: str) -> None:
    """One line for a person, on standard error, so that standard output stays machine-readable."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _logged(items: Iterable[Item], what: str, count: int | None) -> Iterator[Item]:
    last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last >= LOG_SECONDS and done != count:
            say(f"{what}: {done} of {count or '?'}")
            last = time.monotonic()


def _new_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
