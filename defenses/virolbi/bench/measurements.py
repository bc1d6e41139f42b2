"""Measurements on disk: a CSV file that only grows. A row holds a measurement and what it was measured with."""

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

Measurement = dict[str, Any]
"""A row of the file: values by column."""
_CPU_INFO = Path("/proc/cpuinfo")


class Measurements:
    """`FOLDER/NAME.csv`. Every run appends to it, under its own `run`: date and time in UTC.

    rows: the measurements of this run.
    """

    def __init__(self, folder: Path, name: str, columns: Sequence[str], device: torch.device) -> None:
        """Raises: UserError when the folder cannot be written, or holds a file of that name with other columns."""
        self.file = folder / f"{name}.csv"
        self._of_the_run = describe_run(device)
        self.columns = [*self._of_the_run, *columns]
        self.rows: list[Measurement] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._begin()
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, **values: Any) -> None:
        """Append one measurement to the file at once. Raises: UserError when it cannot be written."""
        row = {**self._of_the_run, **values}
        try:
            with self.file.open("a", encoding="utf-8", newline="") as stream:
                csv.DictWriter(stream, self.columns, lineterminator="\n").writerow(row)
        except OSError as error:
            raise self._unwritable(error) from error
        self.rows.append(row)

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.file} cannot be written: {error.strerror or error}. Choose another --out.")

    def _begin(self) -> None:
        """Write the header of a new file; of an old one check the header, and end a line that a kill cut short."""
        # Bytes that are no UTF-8 raise no error here: a file that is not ours is recognised by its columns.
        with self.file.open("a+", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.seek(0)
            text = stream.read()
            if not text:
                csv.writer(stream, lineterminator="\n").writerow(self.columns)
            elif text.splitlines()[0] != ",".join(self.columns):
                raise UserError(f"{self.file} has other columns than this version writes. Choose another --out.")
            elif not text.endswith("\n"):
                stream.write("\n")


def describe_run(device: torch.device) -> Measurement:
    """When, by which command, on which hardware and with which versions a run measures."""
    environment = describe_environment(device)
    environment.pop("threads")  # a run varies their number
    return {
        "run": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "command": shlex.join(["python", "-m", "harness", *sys.argv[1:]]),
        **environment,
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
