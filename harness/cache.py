"""Arrays computed once and kept on disk: memory-mapped, written in blocks, resumable after a kill."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout

from harness.errors import UserError
from harness.progress import say, track

Fill = Callable[[slice], np.ndarray]
PATIENCE = 5.0
"""Seconds to wait for another process before saying so."""


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
        one step; what is found there is checked for shape, type and size before it is used. While another process
        computes the same array, this one waits for it and says so.

        Raises: UserError when the folder cannot be written, or has no room for the array.
        """
        path = self.folder / f"{kind}-{digest_of({'kind': kind, **key})[:24]}.npy"
        if 0 in shape:
            return np.empty(shape, dtype)
        if not _is_whole(path, shape, dtype):
            self._compute(path, kind, shape, np.dtype(dtype), fill, block)
        return np.load(path, mmap_mode="r")

    def _compute(self, path: Path, kind: str, shape: tuple[int, ...], dtype: np.dtype, fill: Fill, block: int) -> None:
        size = math.prod(shape) * dtype.itemsize
        with _writing(self.folder, size):
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()  # a lock would wait for ever where none can be made
        lock = _locked(path, kind, self.folder, size)
        try:
            if not _is_whole(path, shape, dtype):  # another process may have computed it meanwhile
                _build(path, kind, shape, dtype, fill, block)
        finally:
            lock.release()


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


def _locked(path: Path, kind: str, folder: Path, size: int) -> BaseFileLock:
    """The array's lock, taken; it is free as soon as the process that holds it ends, however it ends."""
    lock = FileLock(f"{path}.lock")
    with _writing(folder, size):
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            say(f"{kind}: waiting for another process that computes the same array (it holds {lock.lock_file})")
            lock.acquire()
    return lock


def _build(path: Path, kind: str, shape: tuple[int, ...], dtype: np.dtype, fill: Fill, block: int) -> None:
    partial, done_file = path.with_suffix(".partial.npy"), path.with_suffix(".done")
    size = math.prod(shape) * dtype.itemsize
    done = _rows_done(partial, done_file, shape, dtype)
    with _writing(path.parent, size):
        out = _opened(partial, done_file, shape, dtype, new=not done)
    for start in track(range(done, shape[0], block), kind):
        rows = slice(start, min(start + block, shape[0]))
        out[rows] = fill(rows)
        with _writing(path.parent, size):
            out.flush()
            _write_atomically(done_file, str(rows.stop))
    del out
    with _writing(path.parent, size):
        os.replace(partial, path)
        done_file.unlink(missing_ok=True)


def _opened(partial: Path, done_file: Path, shape: tuple[int, ...], dtype: np.dtype, *, new: bool) -> np.memmap:
    """The unfinished array, writable, with its place on disk taken."""
    if new:
        done_file.unlink(missing_ok=True)  # or an old note would vouch for the rows of the new, empty file
    try:
        out = np.lib.format.open_memmap(partial, mode="w+" if new else "r+", dtype=dtype, shape=shape)
        _reserve(partial)
    except OSError:
        if new:
            partial.unlink(missing_ok=True)  # gives back what was taken before the disk was full
        raise
    return out


def _reserve(file: Path) -> None:
    """Take the whole file's place on disk: afterwards, a full disk would end the process at a write to the mapping."""
    if not hasattr(os, "posix_fallocate"):  # macOS and Windows have no such call
        return
    with file.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot promise room
                raise


@contextlib.contextmanager
def _writing(folder: Path, size: int) -> Iterator[None]:
    """Turn what can go wrong with the folder into one line; `size` is the array's, in bytes."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the cache folder {folder} cannot be written ({error.strerror or error}); an array of "
            f"{math.ceil(size / 1e6)} MB belongs there. Make room, or set VIROLBI_CACHE to a folder that has it."
        ) from error


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
