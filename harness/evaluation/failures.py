"""Failure and timing of work: an error fails the cells that need the work, and its seconds count for each of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

import torch

from harness.errors import reason_of
from harness.evaluation.cells import PendingCell


@contextlib.contextmanager
def work(kind: str, cells: Iterable[PendingCell], device: torch.device) -> Iterator[None]:
    """Work that these cells need: its time counts for each of them, and an error in it fails them and no others."""
    cells, start = list(cells), time.perf_counter()
    try:
        yield
    except Exception as error:  # attacks, preprocessors and models may be anybody's
        for cell in cells:
            cell.failure = reason_of(error)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    for cell in cells:
        cell.seconds[kind] = cell.seconds.get(kind, 0.0) + time.perf_counter() - start


def alive(cells: Iterable[PendingCell]) -> list[PendingCell]:
    """The cells that have not failed."""
    return [cell for cell in cells if cell.failure is None]
