"""Arrays for figures, computed from images and models and kept beside the records, which do not hold them.

An exhibit is computed once, by `harness.explain`, and drawn by `reports.figures`, which opens no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.errors import UserError
from harness.files import from_json, reading, replacing

FOLDER = "exhibits"
_METADATA = "about"
"""The metadata's name among the arrays of a file."""


class Exhibit(NamedTuple):
    """Arrays for a figure, and a description of them."""

    name: str
    arrays: dict[str, np.ndarray]
    """By name."""
    metadata: dict[str, Any]
    """Plain values: what the arrays show and what they were computed from."""


class Exhibits(Mapping[str, Exhibit]):
    """The exhibits of one or several run folders by name, each read when it is asked for.

    Where several folders have an exhibit of one name, the first folder's counts.
    """

    def __init__(self, runs: Sequence[Path] = ()) -> None:
        files = [path for run in runs for path in sorted((Path(run) / FOLDER).glob("*.npz"))]
        self._paths = {path.stem: path for path in reversed(files)}

    def __getitem__(self, name: str) -> Exhibit:
        return read_exhibit(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._paths))

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, name: str) -> Path:
        """The file that holds it."""
        return self._paths[name]


def save_exhibit(run: Path, exhibit: Exhibit) -> Path:
    """Write RUN/exhibits/NAME.npz, whole or not at all. Raises: UserError when it cannot be written."""
    path = Path(run) / FOLDER / f"{exhibit.name}.npz"
    metadata = np.array(json.dumps(exhibit.metadata, sort_keys=True))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **exhibit.arrays, **{_METADATA: metadata})
    except OSError as error:
        raise UserError(f"the exhibit {path} cannot be written: {error.strerror}. Make its folder writable.") from error
    return path


def read_exhibit(path: Path) -> Exhibit:
    """An exhibit from its file. Raises: UserError when it is not one."""
    with reading(path, "an exhibit", " Delete it."):
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        metadata = dict(from_json(str(arrays.pop(_METADATA))))
    return Exhibit(path.stem, arrays, metadata)
