"""Progress on standard error: bars in a terminal, a line every 30 seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

Item = TypeVar("Item")
LOG_SECONDS = 30.0
"""Seconds between two lines of progress where standard error is not a terminal."""
console = Console(stderr=True)
_active: list[Progress] = []


def track(
    items: Sequence[Item] | Iterable[Item],
    what: str,
    *,
    total: int | None = None,
    name: Callable[[Item], str] | None = None,
) -> Iterator[Item]:
    """Iterate over `items` while a bar labelled `what` shows the progress; bars nest, and vanish at the end.

    total: how many items there are, where `items` does not say
    name: what the label calls the item being worked on
    """
    count = total if total is not None else len(items) if isinstance(items, Sequence) else None
    if not sys.stderr.isatty():
        yield from _logged(items, what, count, name)
        return
    outermost = not _active
    if outermost:
        _active.append(_new_bar())
        _active[0].start()
    bar = _active[0]
    task = bar.add_task(what, total=count)
    try:
        for item in items:
            if name is not None:
                bar.update(task, description=f"{what} {name(item)}")
            yield item
            bar.advance(task)
    finally:
        bar.remove_task(task)
        if outermost:
            _active.pop().stop()


def say(text: str) -> None:
    """Print a line for a person to standard error; standard output stays machine-readable."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _logged(items: Iterable[Item], what: str, count: int | None, name: Callable[[Item], str] | None) -> Iterator[Item]:
    last = time.monotonic()
    for done, item in enumerate(items):
        if done and time.monotonic() - last >= LOG_SECONDS:
            say(f"{what}: {done} of {count or '?'} done" + (f", now {name(item)}" if name else ""))
            last = time.monotonic()
        yield item


def _new_bar(console: Console = console) -> Progress:
    """A bar whose label takes the room that the other columns leave, and is cut off there."""
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
        BarColumn(bar_width=20),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        console=console,
        expand=True,
    )
