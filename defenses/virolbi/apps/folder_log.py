"""The log of a folder of smoothed pictures: it tells a repeated command which pictures it made, and how."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.files import file_digest

from ..preprocessor import ViRoLBI

LOG = ".smooth.jsonl"
_USUAL = {"kappa": 5.0, "scheme": "paper", "max_iterations": 200_000}
"""Settings that a log omits at these values: older logs, written before they were options, do not have them."""
_NO_SETTINGS = ("picture", "from", "made", "outcome")
"""The keys of a line that are no settings."""


class FolderLog:
    """The pictures that this command made in a folder: a JSON line each, with source, settings and outcome.

    Pictures are known by a digest of their content: a file that somebody put in the place of ours is not ours. Lines
    are in the order in which pictures were finished; several threads may add them.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Raises: UserError when the folder's log cannot be read."""
        self.file = folder / LOG
        self.settings = settings
        self._adding = threading.Lock()
        self._ours: set[str] = set()
        self._current: set[str] = set()
        for line in _json_lines(self.file):
            made = str(line.get("made"))
            self._ours.add(made)
            if {key: line[key] for key in line if key not in _NO_SETTINGS} == settings:
                self._current.add(made + str(line.get("from")))

    def is_ours(self, target: Path) -> bool:
        """Whether this command made the file, with whatever settings."""
        return file_digest(target) in self._ours

    def is_current(self, source: Path, target: Path) -> bool:
        """Whether this command made the file from `source` as it is, with the present settings."""
        return file_digest(target) + file_digest(source) in self._current

    def add(self, source: Path, made: Path, outcome: str) -> None:
        """Log a picture before it is moved to its place, so that it counts as ours after a kill in between."""
        entry = {"picture": source.name, "from": file_digest(source), "made": file_digest(made), **self.settings}
        # The line end comes first: a line that a kill cut short then spoils no other.
        line = "\n" + json.dumps({**entry, "outcome": outcome})
        with self._adding, self.file.open("a", encoding="utf-8") as stream:
            stream.write(line)


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.exists():
        return
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # empty, or cut short
                    value = json.loads(line)
                    if isinstance(value, dict):
                        yield value
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}. Name another OUT.") from error


def logged_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a log's lines: the options that are not usual, and the version of the method."""
    unusual = {name: value for name, value in options.items() if value != _USUAL.get(name)}
    return {**unusual, "version": ViRoLBI.version}
