"""Arrays computed once and kept on disk: memory-mapped, written in blocks, resumable after a kill."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from harness.errors import HarnessError, UserError
from harness.progress import track

Fill = Callable[[slice], np.ndarray]


def digest_of(value: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class ArrayCache:
    """A folder of arrays, each named by what it was computed from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"ArrayCache({self.folder!r})"

    def array(
        self,
        kind: str,
        key: Mapping[str, Any],
        *,
        shape: tuple[int, ...],
        dtype: Any,
        fill: Fill,
        block: int = 1024,
    ) -> np.ndarray:
        """The array for `key`, read-only and memory-mapped; missing rows are computed by `fill(rows)`.

        An interrupted computation goes on from its last whole block. The finished file appears under its name in
        one step; what is found there is checked for shape, type and size before it is used.
        """
        path = self.folder / f"{kind}-{digest_of({'kind': kind, **key})[:24]}.npy"
        if 0 in shape:
            return np.empty(shape, dtype)
        self._make_folder()
        with FileLock(f"{path}.lock"):
            if not _is_whole(path, shape, dtype):
                _build(path, kind, shape, np.dtype(dtype), fill, block)
        return np.load(path, mmap_mode="r")

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the cache folder {self.folder} cannot be written ({error.strerror}). "
                "Set VIROLBI_CACHE to a folder that can."
            ) from error


def default_cache() -> ArrayCache:
    """The user's cache: $VIROLBI_CACHE, or the platform's cache folder."""
    from platformdirs import user_cache_path

    return ArrayCache(Path(os.environ.get("VIROLBI_CACHE") or user_cache_path("virolbi-harness")))


def _is_whole(path: Path, shape: tuple[int, ...], dtype: Any) -> bool:
    try:
        found = np.lib.format.open_memmap(path, mode="r")
    except Exception:  # NumPy raises many kinds for a damaged header
        return False
    return found.shape == shape and found.dtype == np.dtype(dtype)


def _build(path: Path, kind: str, shape: tuple[int, ...], dtype: np.dtype, fill: Fill, block: int) -> None:
    partial, done_file = path.with_suffix(".partial.npy"), path.with_suffix(".done")
    done = _rows_done(partial, done_file, shape, dtype)
    if not done:
        done_file.unlink(missing_ok=True)  # or an old note would vouch for the rows of the new, empty file
    try:
        out = np.lib.format.open_memmap(partial, mode="r+" if done else "w+", dtype=dtype, shape=shape)
    except OSError as error:
        raise HarnessError(f"cannot write the cache file {partial}: {error.strerror}") from error
    for start in track(range(done, shape[0], block), kind):
        rows = slice(start, min(start + block, shape[0]))
        out[rows] = fill(rows)
        out.flush()
        _write_atomically(done_file, str(rows.stop))
    del out
    os.replace(partial, path)
    done_file.unlink(missing_ok=True)


def _rows_done(partial: Path, done_file: Path, shape: tuple[int, ...], dtype: np.dtype) -> int:
    if not _is_whole(partial, shape, dtype):
        return 0
    try:
        done = int(done_file.read_text())
    except (OSError, ValueError):
        return 0
    return done if 0 <= done <= shape[0] else 0


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
