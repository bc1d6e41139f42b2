"""Files: read with one clear error, written whole or not at all, named safely, known by a digest of their content."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UserError, first_line

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""The endings of picture files that are read, those of torchvision's ImageFolder."""
LONGEST_NAME = 100
"""Bytes of a file's name before its ending; file systems allow 255, encrypted ones 143."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it replaces `path` at the end of the block, but not after an error."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())  # a full disk may be told only now
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, and check that it is on the disk. Raises: OSError, where the disk is full for example.

    Encoders that write by themselves do not always notice.
    """
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def reading(path: Path, expected: str, advice: str = "") -> Iterator[None]:
    """Read somebody's file in the block: whatever goes wrong there is one error that names the file.

    expected: what the file should hold, "a TOML file" for example
    Raises: UserError; for a pipe or a device, too, which would be waited for without end.
    """
    try:
        if not is_regular(path):
            raise UserError(f"expected {expected}, got {path}, which is a folder, a pipe or a device.")
        yield
    except (HarnessError, KeyboardInterrupt):
        raise
    except OSError as error:
        raise UserError(
            f"expected {expected}, could not read {path}: {(error.strerror or first_line(error)).rstrip('.')}.{advice}"
        ) from error
    except Exception as error:
        raise UserError(f"expected {expected}, {path} is not one: {first_line(error).rstrip('.')}.{advice}") from error


def is_regular(path: Path) -> bool:
    """False for a folder, a pipe and a device, which would be waited for; True where there is nothing."""
    return path.is_file() or not path.exists()


def from_json(text: str) -> Any:
    """The value of a JSON text. Raises: ValueError for anything else, and for one nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises: OSError, or ValueError for anything else."""
    return from_json(read_text(path))


def read_text(path: Path) -> str:
    """A text file without its byte order mark. Raises: OSError, or ValueError for a pipe or a device and no UTF-8."""
    if not is_regular(path):
        raise ValueError(f"{path} is no regular file")
    return path.read_text(encoding="utf-8-sig")


def file_name(text: str, instead: str = "-") -> str:
    """A text as a file's name without its ending: letters, digits and `_.=-`; a long one ends in a digest.

    instead: what stands for characters that a name should not hold
    """
    name = re.sub(r"[^\w.=-]+", instead, text)
    name = name.encode(sys.getfilesystemencoding(), "replace").decode(sys.getfilesystemencoding()).replace("?", instead)
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{name.encode()[: LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content. Raises: UserError when it cannot be read."""
    with reading(path, "a file"), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
