"""Shared by the data sets that come as files: lists of names, digests of content, normalisation by family."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.cache import ArrayCache
from harness.contracts.dataset import SplitName
from harness.errors import UserError
from harness.files import file_digest, read_text, reading
from harness.progress import track

from ._normalization import CIFAR10_MEAN, CIFAR10_STD, CIFAR100_MEAN, CIFAR100_STD

DATA = Path(__file__).parent / "data"
_SETTLED_SECONDS = 2.0
"""A file that changed this recently may change again within the clock's resolution: its digest is not kept."""


def read_names(path: Path) -> tuple[str, ...]:
    """The names in a text file, one a line, without empty lines and lines that begin with #.

    Raises: UserError when the file is missing, not text, names nothing or names something twice.
    """
    with reading(path, "a list of classes"):
        lines = read_text(path).splitlines()
    names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        problem = f"names {', '.join(twice)} more than once" if names else "names no class"
        raise UserError(f"the list of classes {path} {problem}; expected one class a line.")
    return tuple(names)


class Family(NamedTuple):
    """A CIFAR data set: its class names in order and its normalisation."""

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


CIFAR10 = Family(
    "cifar10",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    CIFAR10_MEAN,
    CIFAR10_STD,
)
CIFAR100 = Family("cifar100", read_names(DATA / "cifar100.txt"), CIFAR100_MEAN, CIFAR100_STD)


def cifar_family(classes: tuple[str, ...], side: tuple[int, int]) -> Family | None:
    """The CIFAR data set with these classes in this order and images of this size; None for neither."""
    # Hugging Face's copy of CIFAR-100 calls the crab "cra".
    spelled = tuple("crab" if name == "cra" else name for name in classes)
    return next((known for known in (CIFAR10, CIFAR100) if side == (32, 32) and spelled == known.classes), None)


def content_digest(files: Sequence[Path], root: Path, cache: ArrayCache) -> str:
    """SHA-256 over the bytes of `files` and their names relative to `root`, in the order given.

    The digest is kept in `cache`. The files are read again only when the size, inode or time of change of one of them
    differs. (No program can set the time of change, ctime.)
    """
    names = [file.relative_to(root).as_posix() for file in files]
    stats = [_stat(file) for file in files]
    if max(stat.st_ctime for stat in stats) > time.time() - _SETTLED_SECONDS:
        return _hash_all(files, names).hex()
    state = [[n, s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns] for n, s in zip(names, stats, strict=True)]
    known = cache.array(
        "content",
        {"root": str(root.resolve()), "files": state},
        shape=(32,),
        dtype=np.uint8,
        fill=lambda rows: np.frombuffer(_hash_all(files, names), np.uint8)[rows],
    )
    return known.tobytes().hex()


def _hash_all(files: Sequence[Path], names: Sequence[str]) -> bytes:
    digest = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        digests = track(pool.map(file_digest, files), "reading files", total=len(files))
        for name, content in zip(names, digests, strict=True):
            digest.update(f"{name}\0{content}\n".encode(errors="surrogateescape"))
    return digest.digest()


def _stat(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error


def no_split(folder: str, split: SplitName, expected: str) -> UserError:
    """The error for a split that a data set lacks; one that only scores needs no training split."""
    why = "; it is needed to train. To score only, give --checkpoint" if split == "train" else ""
    return UserError(f"{folder} has no {split} split: expected {expected}{why}.")
