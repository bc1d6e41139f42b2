"""Arrays computed once and kept on disk: memory-mapped, written in blocks, checked, resumable after a kill."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout

from harness.errors import HarnessError, UserError
from harness.progress import say, track

Fill = Callable[[slice], np.ndarray]
PATIENCE = 5.0
"""Seconds to wait for another process before saying so."""
_PIECE = 2**22
"""Bytes read at a time, so that checking an array of any size takes no memory."""
_sound: dict[Path, tuple[int, ...]] = {}
"""The files this process has read through and found undamaged, with inode, size and time of change."""


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

        An interrupted computation goes on with the blocks that are missing. The finished file appears under its name
        in one step. A process that opens it for the first time reads it through and compares it with the checksums
        that were noted when it was computed. Blocks that differ, here or in a file to go on with, are computed again,
        which is said. While another process computes the same array, this one waits for it and says so.

        Raises: UserError when the folder cannot be written, or has no room for the array.
        """
        target = _Target(self.folder / f"{kind}-{digest_of({'kind': kind, **key})[:24]}.npy", shape, np.dtype(dtype))
        if 0 in shape:
            return np.empty(shape, dtype)
        if not _is_sound(target):
            self._compute(target, kind, fill, block)
        return np.load(target.path, mmap_mode="r")

    def _compute(self, target: _Target, kind: str, fill: Fill, block: int) -> None:
        with _writing(target):
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()  # a lock would wait for ever where none can be made
        lock = _locked(target, kind)
        try:
            if not _is_sound(target):  # another process may have computed it meanwhile
                _build(target, kind, fill, block)
        finally:
            lock.release()


def default_cache() -> ArrayCache:
    """The user's cache: $VIROLBI_CACHE, or the platform's cache folder."""
    from platformdirs import user_cache_path

    return ArrayCache(Path(os.environ.get("VIROLBI_CACHE") or user_cache_path("virolbi-harness")))


@dataclasses.dataclass(frozen=True)
class _Target:
    """An array that is wanted: what it must be, and where it lies."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def partial(self) -> Path:
        """Where it lies until it is whole."""
        return self.path.with_suffix(".partial.npy")

    @property
    def sums(self) -> Path:
        """Where its checksums lie, partial or whole: so a single renaming finishes it."""
        return self.path.with_suffix(".sums")

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def offset_in(self, file: Path) -> int | None:
        """Where the rows begin in a file of this shape, type and size; None for any other file."""
        try:
            found = np.lib.format.open_memmap(file, mode="r")
        except Exception:  # NumPy raises many kinds for a damaged header
            return None
        fits = found.shape == self.shape and found.dtype == self.dtype and found.flags.c_contiguous
        return found.offset if fits else None


class _Sums:
    """The checksums (CRC-32) of the blocks of an array; a line of JSON about it, then a line for every block.

    A line is added after its block is written, so that a kill in between leaves a block without a line.
    """

    def __init__(self, target: _Target, block: int, found: Mapping[int, int]) -> None:
        self.target, self.block, self.found = target, block, dict(found)

    @classmethod
    def start(cls, target: _Target, block: int) -> _Sums:
        """Those of an array of which nothing is there, in place of any others."""
        about = {"shape": target.shape, "dtype": target.dtype.str, "block": block}
        temporary = target.sums.with_name(f"{target.sums.name}.tmp")
        temporary.write_text(json.dumps(about))
        os.replace(temporary, target.sums)
        return cls(target, block, {})

    @classmethod
    def read(cls, target: _Target) -> _Sums | None:
        """Those on disk; None where there are none, or none of such an array."""
        try:
            first, *lines = target.sums.read_text().splitlines()
            about = json.loads(first)
            fits = about["shape"] == list(target.shape) and about["dtype"] == target.dtype.str
            block = about["block"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return cls(target, block, dict(_pairs(lines))) if fits and type(block) is int and block > 0 else None

    def add(self, index: int, rows: np.ndarray) -> None:
        """Note a block's checksum; the latest counts."""
        self.found[index] = zlib.crc32(rows.data)
        with self.target.sums.open("a") as stream:
            # The line end comes first, so that a line which a kill cut short spoils no other.
            stream.write(f"\n{index} {self.found[index]}")

    def __len__(self) -> int:
        return -(-self.target.shape[0] // self.block)

    def rows(self, index: int) -> slice:
        """The rows of a block."""
        return slice(index * self.block, min((index + 1) * self.block, self.target.shape[0]))

    def missing(self) -> list[int]:
        """The blocks without a checksum."""
        return [index for index in range(len(self)) if index not in self.found]

    def damaged(self, file: Path, offset: int) -> list[int]:
        """The blocks whose bytes in the file, where the rows begin at `offset`, have another checksum."""
        kind = self.target.path.name.rpartition("-")[0]
        known = [index for index in range(len(self)) if index in self.found]
        with file.open("rb", buffering=0) as stream:
            found = {index: self._sum_of(stream, offset, index) for index in track(known, f"checking {kind}")}
        return [index for index, crc in found.items() if crc != self.found[index]]

    def _sum_of(self, stream: BinaryIO, offset: int, index: int) -> int:
        """The checksum of a block's bytes in a file."""
        rows, row_bytes = self.rows(index), self.target.row_bytes
        stream.seek(offset + rows.start * row_bytes)
        left, crc = (rows.stop - rows.start) * row_bytes, 0
        while left and (piece := stream.read(min(left, _PIECE))):
            left, crc = left - len(piece), zlib.crc32(piece, crc)
        return crc


def _pairs(lines: list[str]) -> Iterator[tuple[int, int]]:
    for line in lines:
        with contextlib.suppress(ValueError):  # cut short
            index, crc = map(int, line.split())
            yield index, crc


def _is_sound(target: _Target) -> bool:
    """Whether the finished file is there and agrees with its checksums; read through once in a process."""
    offset = target.offset_in(target.path)
    if offset is None:
        return False
    stat = target.path.stat()
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if _sound.get(target.path) != state:
        sums = _Sums.read(target)
        if sums is None or sums.missing() or sums.damaged(target.path, offset):
            return False
        _sound[target.path] = state
    return True


def _locked(target: _Target, kind: str) -> BaseFileLock:
    """The array's lock, taken; it is free as soon as the process that holds it ends, however it ends."""
    lock = FileLock(f"{target.path}.lock")
    with _writing(target):
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            say(f"{kind}: waiting for another process that computes the same array (it holds {lock.lock_file})")
            lock.acquire()
    return lock


def _build(target: _Target, kind: str, fill: Fill, block: int) -> None:
    with _writing(target):
        sums, offset = _taken_up(target, kind) or _begun(target, block)
    for index in track(sums.missing(), kind):
        rows = sums.rows(index)
        values = _checked(fill(rows), (rows.stop - rows.start, *target.shape[1:]), target.dtype, kind)
        with _writing(target):
            with target.partial.open("r+b") as stream:
                stream.seek(offset + rows.start * target.row_bytes)
                stream.write(values.data)
            sums.add(index, values)
    with _writing(target):
        _rename(target.partial, target.path)


def _checked(values: np.ndarray, shape: tuple[int, ...], dtype: np.dtype, kind: str) -> np.ndarray:
    """The rows that were computed, contiguous. Raises: HarnessError where they are not of the array's shape and type:
    a broadcast or a cast would put wrong numbers on disk without a word.
    """
    if values.shape != shape or values.dtype != dtype:
        raise HarnessError(
            f"{kind}: expected rows of shape {list(shape)} and type {dtype} for the cache, "
            f"got shape {list(values.shape)} and type {values.dtype}. This is a mistake in what computes them."
        )
    return np.ascontiguousarray(values)


def _taken_up(target: _Target, kind: str) -> tuple[_Sums, int] | None:
    """What is there of the array, without its damaged blocks, and where the rows begin; None where nothing is of use.

    A finished file that is damaged becomes a partial one again.
    """
    sums = _Sums.read(target)
    if sums is not None and not target.partial.exists() and target.offset_in(target.path) is not None:
        _rename(target.path, target.partial)
    offset = target.offset_in(target.partial)
    if sums is None or offset is None:
        if target.path.exists():
            say(f"{kind}: the array on disk is damaged or has no checksums; it is computed again")
        return None
    damaged = sums.damaged(target.partial, offset)
    if damaged:
        say(f"{kind}: {len(damaged)} of {len(sums)} blocks on disk are damaged; they are computed again")
    for index in damaged:
        del sums.found[index]
    _reserve(target.partial)
    return sums, offset


def _begun(target: _Target, block: int) -> tuple[_Sums, int]:
    """An array of which nothing is there, and where its rows begin."""
    sums = _Sums.start(target, block)  # or old ones would vouch for the rows of the new, empty file
    out = np.lib.format.open_memmap(target.partial, mode="w+", dtype=target.dtype, shape=target.shape)
    try:
        _reserve(target.partial)
    except OSError:
        target.partial.unlink(missing_ok=True)  # gives back what was taken before the disk was full
        raise
    return sums, out.offset


def _rename(source: Path, destination: Path) -> None:
    """Put a file in the place of another. Raises: UserError where either is in use: Windows keeps what is mapped."""
    try:
        os.replace(source, destination)
    except PermissionError as error:  # not the folder: a file has been made there just before
        raise UserError(
            f"{source} cannot be renamed to {destination.name} ({error.strerror or error}): one of them is in use, by "
            "this process or another, or is somebody else's. End what uses it, or set VIROLBI_CACHE to another folder."
        ) from error


def _reserve(file: Path) -> None:
    """Take the whole file's place on disk: better no room now than after hours of computing."""
    if not hasattr(os, "posix_fallocate"):  # macOS and Windows have no such call
        return
    with file.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot promise room
                raise


@contextlib.contextmanager
def _writing(target: _Target) -> Iterator[None]:
    """Turn what can go wrong with the folder into one line."""
    try:
        yield
    except OSError as error:
        size = target.shape[0] * target.row_bytes
        raise UserError(
            f"the cache folder {target.path.parent} cannot be written ({error.strerror or error}); an array of "
            f"{math.ceil(size / 1e6)} MB belongs there. Make room, or set VIROLBI_CACHE to a folder that has it."
        ) from error
