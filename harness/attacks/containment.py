"""Undoes what AutoAttack changes in the process.

It stops any tracing of the process, seeds the global random numbers, prints, logs and warns, and counts its calls over
the life of the process.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import random
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def contained(package: str, device: torch.device) -> Iterator[list[str]]:
    """Restore after the block what AutoAttack's `package` changes in the process.

    Yields the list of its warnings, a line each; printed ones and those of `warnings` are added at the end.
    """
    flags: list[str] = []
    with _random_numbers(device), _no_call_count(package), _tracing(), _logged_warnings(flags):
        with warnings.catch_warnings(record=True) as raised, contextlib.redirect_stdout(io.StringIO()) as printed:
            warnings.simplefilter("always")
            yield flags
        flags += [_line(str(warning.message)) for warning in raised]
        flags += [_line(line) for line in printed.getvalue().splitlines() if "arning" in line]


@contextlib.contextmanager
def _random_numbers(device: torch.device) -> Iterator[None]:
    """The global random numbers of PyTorch, NumPy and Python continue as if the block had drawn none."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (the state that others draw from is restored)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def _no_call_count(package: str) -> Iterator[None]:
    """AutoAttack warns of models that compute gradients in `forward`. Its count starts at 0 here, and ends at 0."""
    counts = importlib.import_module(f"{package}.checks").funcs
    counts.update(dict.fromkeys(counts, 0))
    try:
        yield
    finally:
        counts.update(dict.fromkeys(counts, 0))


@contextlib.contextmanager
def _tracing() -> Iterator[None]:
    """A debugger, or a measurement of coverage, continues after the block."""
    trace = sys.gettrace()
    try:
        yield
    finally:
        sys.settrace(trace)


@contextlib.contextmanager
def _logged_warnings(flags: list[str]) -> Iterator[None]:
    """The warnings that AutoAttack logs are added to `flags` and printed nowhere."""
    logger, handler = logging.getLogger("auto-attack"), _FlagHandler(flags)
    logger.addHandler(handler)
    propagates, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagates
        logger.removeHandler(handler)


class _FlagHandler(logging.Handler):
    """Collects the messages of level warning and above."""

    def __init__(self, flags: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.flags = flags

    def emit(self, record: logging.LogRecord) -> None:
        self.flags.append(_line(record.getMessage()))


def _line(text: str) -> str:
    """A warning in one line, without its reference to a page of the package."""
    return " ".join(text.partition(" See ")[0].removeprefix("Warning: ").split())
