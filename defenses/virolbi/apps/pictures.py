"""Smooths picture files for the command `smooth`: a single one, or all of a folder on several threads."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch

from harness.errors import UserError
from harness.files import PICTURES
from harness.progress import say, track

from ..backends import cpu
from .folder_log import FolderLog, logged_settings
from .picture_files import Smoother, smooth_file

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4
"""How many pictures a thread may smooth before the one that is reported next."""
PATIENCE = 3.0
"""Seconds that an interrupted call waits for pictures in work; a thread that compiles is not waited for."""
_REACHED, _THERE, _FAILED = "reached", "there", "failed"
_SHORT = {"unreachable": "left as it was", "max_iterations": "smoothed as far as it came"}
"""What is said of pictures that did not reach the level, by outcome."""


def smooth_pictures(source: Path, target: Path, smoother: Smoother, *, overwrite: bool = False) -> int:
    """Smooth `source` into `target`: a picture into a file or folder, a folder's pictures into a folder.

    A single picture's target must not exist, unless `overwrite` is set. A picture that does not reach the level is
    named.

    In a folder `target`, pictures made with these settings stay as they are, so that an interrupted call can be
    repeated. Pictures made with other settings are made again. Files of somebody else stay as they are, and are named.
    As many pictures of a folder are smoothed at a time as PyTorch uses threads.

    Returns the exit code: 1 when pictures of a folder could not be read or written; they are named.
    Raises: UserError when there is nothing to smooth, or a single picture cannot be smoothed.
    """
    if source.is_dir():
        return _smooth_folder(source, target, smoother)
    if not source.is_file():
        raise UserError(f"expected a picture or a folder of pictures, got nothing at {source}.")
    destination = target / source.name if target.is_dir() else target
    if destination.exists() and not overwrite:
        raise UserError(f"{destination} is there already. Name another OUT, or add --overwrite to replace it.")
    _say_short(source, smooth_file(source, destination, smoother), smoother)
    say(f"wrote {destination}")
    return 0


def _smooth_folder(source: Path, target: Path, smoother: Smoother) -> int:
    if target.exists() and not target.is_dir():
        raise UserError(f"{source} is a folder, so OUT must be one too; {target} is a file.")
    if source.resolve() == target.resolve():
        raise UserError("IN and OUT are the same folder; the originals would be lost. Name another OUT.")
    total = sum(1 for _ in _pictures_in(source, target))
    if not total:
        raise UserError(f"expected pictures ({', '.join(PICTURES)}) in {source}, got none.")
    log = FolderLog(target, logged_settings(smoother.options()))
    counts: Counter[str] = Counter()

    def work(name: Path) -> str | UserError:
        try:
            return _smooth_if_due(source / name, target / name, smoother, log)
        except UserError as error:
            return error

    names = (path.relative_to(source) for path in _pictures_in(source, target))
    with contextlib.closing(_in_order(work, names, torch.get_num_threads())) as results:
        for name, outcome in track(results, "smooth", total=total):
            if isinstance(outcome, UserError):
                say(f"failed: {outcome}")
                outcome = _FAILED
            _say_short(name, outcome, smoother)
            counts[outcome] += 1
    smoothed, there, failed = counts[_REACHED], counts[_THERE], counts[_FAILED]
    short = counts.total() - smoothed - there - failed
    say(f"{smoothed} smoothed, {short} short of the level, {there} there already, {failed} failed")
    return 1 if failed else 0


def _in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[tuple[Item, Result], None, None]:
    """Every item with its result, in order, by several threads that work a few items ahead."""
    pool = ThreadPoolExecutor(threads)
    waiting = ((item, pool.submit(work, item)) for item in items)
    ahead = deque(islice(waiting, AHEAD * threads))
    try:
        while ahead:
            item, future = ahead[0]
            result = future.result()
            ahead.popleft()
            ahead.extend(islice(waiting, 1))
            yield item, result
    except BaseException:  # the caller has stopped taking results
        cpu.interrupt()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        wait([future for _, future in ahead], timeout=PATIENCE)


def _pictures_in(folder: Path, target: Path) -> Iterator[Path]:
    """The pictures below a folder in the order of their paths, without those of a `target` inside it."""
    if folder.resolve() == target.resolve():
        return
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _pictures_in(path, target)
        elif path.suffix.lower() in PICTURES and path.is_file():
            yield path


def _smooth_if_due(source: Path, target: Path, smoother: Smoother, log: FolderLog) -> str:
    """The outcome of smoothing; `_THERE` for a picture that was smoothed before with these settings."""
    if target.exists():
        if log.is_current(source, target):
            return _THERE
        if not log.is_ours(target):
            raise UserError(f"{target} is there and not what this command made. Move it away, or name another OUT.")
    return smooth_file(source, target, smoother, log)


def _say_short(picture: Path, outcome: str, smoother: Smoother) -> None:
    if outcome in _SHORT:
        say(f"{picture}: {outcome} at level {smoother.options()['level']:g}, {_SHORT[outcome]}")
