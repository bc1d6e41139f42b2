"""Measurements on disk: a CSV file that only grows, one row per measurement, what it was measured with beside it."""

from __future__ import annotations

import csv
import datetime
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from harness.errors import UserError
from harness.records.environment import describe_environment

Row = dict[str, Any]
_CPU_INFO = Path("/proc/cpuinfo")


class Ledger:
    """`FOLDER/NAME.csv`. Every run appends to it, under its own `run`: date and time in UTC.

    rows: those of this run.
    """

    def __init__(self, folder: Path, name: str, columns: Sequence[str], device: torch.device) -> None:
        """Raises: UserError when the folder cannot be written, or holds a file of that name with other columns."""
        self.file = folder / f"{name}.csv"
        self.about = describe_run(device)
        self.columns = [*self.about, *columns]
        self.rows: list[Row] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._begin()
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, **values: Any) -> None:
        """Write one measurement down, at once. Raises: UserError when it cannot be written."""
        row = {**self.about, **values}
        try:
            with self.file.open("a", encoding="utf-8", newline="") as stream:
                csv.DictWriter(stream, self.columns, lineterminator="\n").writerow(row)
        except OSError as error:
            raise self._unwritable(error) from error
        self.rows.append(row)

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.file} cannot be written: {error.strerror or error}. Choose another --out.")

    def _begin(self) -> None:
        """Write the header of a new file; see that an old one has the same, and end a line that a kill cut short."""
        # Bytes that are no UTF-8 are read as such, so that what is no file of ours is told by its columns.
        with self.file.open("a+", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.seek(0)
            text = stream.read()
            if not text:
                csv.writer(stream, lineterminator="\n").writerow(self.columns)
            elif text.splitlines()[0] != ",".join(self.columns):
                raise UserError(f"{self.file} has other columns than this version writes. Choose another --out.")
            elif not text.endswith("\n"):
                stream.write("\n")


def describe_run(device: torch.device) -> Row:
    """When, by which command, on which hardware and with which versions a run measures."""
    known = describe_environment(device)
    known.pop("threads")  # a thing that a run varies
    return {
        "run": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "command": shlex.join(["python", "-m", "harness", *sys.argv[1:]]),
        **known,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "cores": core_count(),
    }


def cpu_name() -> str:
    """The processor's name as its maker writes it, where the system tells."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
