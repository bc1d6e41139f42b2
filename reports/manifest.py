"""`report.json`, the file written last: which files a report has in its folder, and from what they were made."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from harness.errors import UserError
from harness.files import read_json, replacing

FILE_NAME = "report.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """The files of a report and digests of what they were made from."""

    digest: str = ""
    """Of everything that the report depends on, its options too; "" while it is being written."""
    source: str = ""
    """Of the same without the options."""
    files: tuple[str, ...] = ()
    """Paths relative to the folder."""
    missing: tuple[str, ...] = ()
    """The tables and figures asked for that could not be made."""


class Stale(NamedTuple):
    """The files of an earlier report that were not written again."""

    kept: list[str]
    """Those made from the same records."""
    deleted: list[str]


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of the report in a folder; None where there is none that can be read."""
    try:
        content = read_json(folder / FILE_NAME)
        return Manifest(
            digest=str(content["digest"]),
            source=str(content["source"]),
            files=tuple(name for name in map(str, content["files"]) if _is_inside(name)),
            missing=tuple(map(str, content["missing"])),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all. Raises: UserError when the folder cannot be written."""
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(manifest), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"the report cannot be written to {folder}: {error.strerror}. Choose another --out.") from error


def is_current(folder: Path, manifest: Manifest, digest: str) -> bool:
    """Whether the folder holds the report of this digest, complete."""
    return manifest.digest == digest and all((folder / name).is_file() for name in manifest.files)


def refuse_foreign(folder: Path, names: Iterable[str]) -> None:
    """Raises: UserError where one of these files, or the manifest, exists and is not from an earlier report."""
    manifest = read_manifest(folder)
    ours = {FILE_NAME, *manifest.files} if manifest else set()
    foreign = [name for name in (FILE_NAME, *names) if name not in ours and os.path.lexists(folder / name)]
    if foreign:
        tops = ", ".join(dict.fromkeys(PurePosixPath(name).parts[0] for name in foreign))
        raise UserError(
            f"expected an earlier report or none in {folder}, found {foreign[0]}, which no {FILE_NAME} there names. "
            f"Choose another --out, or delete {tops} if nobody needs it."
        )


def remove_stale(folder: Path, before: Manifest | None, source: str, written: Sequence[str]) -> Stale:
    """Delete the files of the report before that were made from another source and not written again."""
    rest = [name for name in (before.files if before else ()) if name not in set(written)]
    present = [name for name in rest if (folder / name).is_file()]
    if before and before.source == source:
        return Stale(present, [])
    for name in present:
        (folder / name).unlink()
    return Stale([], present)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and len(path.parts) > 0
