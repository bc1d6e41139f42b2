"""Arrays computed once and kept on disk: memory-mapped, written in blocks, checked, resumable after a kill."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
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

from harness.errors import HarnessError, UserError, first_line
from harness.files import from_json, read_text
from harness.progress import say, track

Fill = Callable[[slice], np.ndarray]
PATIENCE = 5.0
"""Seconds of waiting for another process before a line says so."""
_CHUNK = 2**22
"""Bytes read at a time, so that checking an array of any size takes little memory."""
_sound: dict[Path, tuple[int, ...]] = {}
"""Undamaged files that this process has checked: inode, size and time of change by path."""


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

        An interrupted computation continues with the missing blocks. The finished file gets its name in one step. The
        first time a process opens a file, finished or partial, it compares every block with the checksum written when
        the block was computed; it computes damaged blocks again, and says so. While another process computes the same
        array, this one waits, and says so.

        Raises: UserError when the folder cannot be written, or has no room for the array.
        """
        target = Target(self.folder / f"{kind}-{digest_of({'kind': kind, **key})[:24]}.npy", shape, np.dtype(dtype))
        if 0 in shape:
            return np.empty(shape, dtype)
        if not _is_sound(target):
            self._compute(target, kind, fill, block)
        return np.load(target.path, mmap_mode="r")

    def _compute(self, target: Target, kind: str, fill: Fill, block: int) -> None:
        with _writing(target):
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()  # in a read-only folder the lock would wait for ever
        lock = _locked(target, kind)
        try:
            if not _is_sound(target):  # another process may have computed it before the lock was free
                _build(target, kind, fill, block)
        finally:
            lock.release()


def default_cache() -> ArrayCache:
    """The user's cache."""
    return ArrayCache(cache_folder())


def cache_folder() -> Path:
    """$VIROLBI_CACHE, or the platform's cache folder; where there can be none, a temporary one, which is said once."""
    given = os.environ.get("VIROLBI_CACHE")
    return Path(given).expanduser() if given else _usual_folder()


@functools.cache
def _usual_folder() -> Path:
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("virolbi-harness")
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (RuntimeError, OSError) as error:  # no home folder, as of a user id that nobody has, or none to write to
        folder = Path(tempfile.mkdtemp(prefix="virolbi-harness-"))
        why = getattr(error, "strerror", None) or first_line(error)
        say(f"no cache folder ({why}); {folder} is used. VIROLBI_CACHE names one that lasts.")
    return folder


@dataclasses.dataclass(frozen=True)
class Target:
    """The array asked for: its shape and type, and where it lies on disk."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def partial(self) -> Path:
        """The file's path until all blocks are computed."""
        return self.path.with_suffix(".partial.npy")

    @property
    def sums(self) -> Path:
        """The file of checksums, of the partial and of the finished array: renaming the array alone finishes it."""
        return self.path.with_suffix(".sums")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def offset_in(self, file: Path) -> int | None:
        """Where the rows begin in a file of this shape, type and size; None for any other file."""
        if not file.is_file():
            return None
        try:
            array = np.lib.format.open_memmap(file, mode="r")
        except Exception:  # NumPy raises many kinds for a damaged header
            return None
        fits = array.shape == self.shape and array.dtype == self.dtype and array.flags.c_contiguous
        return array.offset if fits else None


class Checksums:
    """The checksums (CRC-32) of an array's blocks.

    The file holds a line of JSON with the array's shape, type and block size, then a line for each block. A block's
    line is added after the block is written: a kill in between leaves a block without a line.
    """

    def __init__(self, target: Target, block: int, checksums: Mapping[int, int]) -> None:
        self.target, self.block, self.checksums = target, block, dict(checksums)

    @classmethod
    def start(cls, target: Target, block: int) -> Checksums:
        """An empty list for an array without any block; it replaces the file on disk."""
        header = {"shape": target.shape, "dtype": target.dtype.str, "block": block}
        temporary = target.sums.with_name(f"{target.sums.name}.tmp")
        temporary.write_text(json.dumps(header))
        os.replace(temporary, target.sums)
        return cls(target, block, {})

    @classmethod
    def read(cls, target: Target) -> Checksums | None:
        """The checksums on disk; None where there is no file, or one of another array."""
        try:
            first, *lines = read_text(target.sums).splitlines()
            header = from_json(first)
            fits = header["shape"] == list(target.shape) and header["dtype"] == target.dtype.str
            block = header["block"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return cls(target, block, dict(_pairs(lines))) if fits and type(block) is int and block > 0 else None

    def add(self, index: int, rows: np.ndarray) -> None:
        """Note a block's checksum; of several lines for a block the last counts."""
        self.checksums[index] = zlib.crc32(rows.data)
        with self.target.sums.open("a") as stream:
            # The line end comes first: a line that a kill cut short then spoils no other.
            stream.write(f"\n{index} {self.checksums[index]}")

    def __len__(self) -> int:
        return -(-self.target.shape[0] // self.block)

    def rows(self, index: int) -> slice:
        """The rows of a block."""
        return slice(index * self.block, min((index + 1) * self.block, self.target.shape[0]))

    def missing(self) -> list[int]:
        """The blocks without a checksum."""
        return [index for index in range(len(self)) if index not in self.checksums]

    def damaged(self, file: Path, offset: int) -> list[int]:
        """The blocks whose bytes differ from their checksum; the file's rows begin at `offset`."""
        kind = self.target.path.name.rpartition("-")[0]
        known = [index for index in range(len(self)) if index in self.checksums]
        with file.open("rb", buffering=0) as stream:
            read = {index: self._read_checksum(stream, offset, index) for index in track(known, f"checking {kind}")}
        return [index for index, crc in read.items() if crc != self.checksums[index]]

    def _read_checksum(self, stream: BinaryIO, offset: int, index: int) -> int:
        """The checksum of a block's bytes in a file."""
        rows, row_bytes = self.rows(index), self.target.row_bytes
        stream.seek(offset + rows.start * row_bytes)
        left, crc = (rows.stop - rows.start) * row_bytes, 0
        while left and (chunk := stream.read(min(left, _CHUNK))):
            left, crc = left - len(chunk), zlib.crc32(chunk, crc)
        return crc


def _pairs(lines: list[str]) -> Iterator[tuple[int, int]]:
    for line in lines:
        with contextlib.suppress(ValueError):  # cut short
            index, crc = map(int, line.split())
            yield index, crc


def _is_sound(target: Target) -> bool:
    """Whether the finished file is there and agrees with its checksums; a process compares them once."""
    offset = target.offset_in(target.path)
    if offset is None:
        return False
    stat = target.path.stat()
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if _sound.get(target.path) != state:
        sums = Checksums.read(target)
        if sums is None or sums.missing() or sums.damaged(target.path, offset):
            return False
        _sound[target.path] = state
    return True


def _locked(target: Target, kind: str) -> BaseFileLock:
    """The array's lock, acquired. The system frees it when the process that holds it ends, however it ends."""
    lock = FileLock(f"{target.path}.lock")
    with _writing(target):
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            say(f"{kind}: waiting for another process that computes the same array (it holds {lock.lock_file})")
            lock.acquire()
    return lock


def _build(target: Target, kind: str, fill: Fill, block: int) -> None:
    with _writing(target):
        sums, offset = _resume(target, kind) or _start(target, block)
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
    """The computed rows, contiguous.

    Raises: HarnessError where their shape or type is not the array's: a silent broadcast or cast would put wrong
    numbers on disk.
    """
    if values.shape != shape or values.dtype != dtype:
        raise HarnessError(
            f"{kind}: expected rows of shape {list(shape)} and type {dtype} for the cache, "
            f"got shape {list(values.shape)} and type {values.dtype}. This is a mistake in what computes them."
        )
    return np.ascontiguousarray(values)


def _resume(target: Target, kind: str) -> tuple[Checksums, int] | None:
    """The checksums of the array's undamaged blocks on disk, and where its rows begin; None without a usable file.

    A finished file that is damaged becomes a partial one again.
    """
    sums = Checksums.read(target)
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
        del sums.checksums[index]
    _reserve(target.partial)
    return sums, offset


def _start(target: Target, block: int) -> tuple[Checksums, int]:
    """An empty partial file without checksums, and where its rows begin."""
    sums = Checksums.start(target, block)  # first: old checksums would vouch for the rows of the new, empty file
    out = np.lib.format.open_memmap(target.partial, mode="w+", dtype=target.dtype, shape=target.shape)
    try:
        _reserve(target.partial)
    except OSError:
        target.partial.unlink(missing_ok=True)  # frees what was reserved before the disk was full
        raise
    return sums, out.offset


def _rename(source: Path, destination: Path) -> None:
    """Rename a file, replacing another. Raises: UserError where one is in use: Windows locks mapped files."""
    try:
        os.replace(source, destination)
    except PermissionError as error:  # not the folder's: a file was made there just before
        raise UserError(
            f"{source} cannot be renamed to {destination.name} ({error.strerror or error}): one of them is in use, by "
            "this process or another, or is another user's. End what uses it, or set VIROLBI_CACHE to another folder."
        ) from error


def _reserve(file: Path) -> None:
    """Reserve the whole file's room on disk: a full disk is an error now rather than after hours of computing."""
    if not hasattr(os, "posix_fallocate"):  # macOS and Windows have no such call
        return
    with file.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # the file system cannot reserve room
                raise


@contextlib.contextmanager
def _writing(target: Target) -> Iterator[None]:
    """Turn the errors of the folder into a UserError of one line."""
    try:
        yield
    except OSError as error:
        size = target.shape[0] * target.row_bytes
        raise UserError(
            f"the cache folder {target.path.parent} cannot be written ({error.strerror or error}); an array of "
            f"{math.ceil(size / 1e6)} MB belongs there. Make room, or set VIROLBI_CACHE to a folder that has it."
        ) from error
