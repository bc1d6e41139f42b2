"""What a report left in its folder, and from what it was made: `report.json`, the file written last."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from harness.errors import UserError
from harness.files import replacing

FILE_NAME = "report.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """A report's files, and what they were made from."""

    digest: str = ""
    """Of all that the report depends on; "" while it is being written."""
    source: str = ""
    """Of the same but for the options, so of what the files were made from."""
    files: tuple[str, ...] = ()
    """Relative to the folder."""
    missing: tuple[str, ...] = ()
    """The names asked for under which nothing could be made."""


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of the report that is there; None where there is none."""
    try:
        kept = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        return Manifest(
            digest=str(kept["digest"]),
            source=str(kept["source"]),
            files=tuple(name for name in map(str, kept["files"]) if _is_inside(name)),
            missing=tuple(map(str, kept["missing"])),
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
    """Whether the report that depends on the same is there, all its files with it."""
    return manifest.digest == digest and all((folder / name).is_file() for name in manifest.files)


def refuse_foreign(folder: Path, names: Iterable[str]) -> None:
    """Raises: UserError where one of these files, or the manifest, is there and no report has left it."""
    manifest = read_manifest(folder)
    ours = {FILE_NAME, *manifest.files} if manifest else set()
    foreign = [name for name in (FILE_NAME, *names) if name not in ours and os.path.lexists(folder / name)]
    if foreign:
        tops = ", ".join(dict.fromkeys(PurePosixPath(name).parts[0] for name in foreign))
        raise UserError(
            f"expected an earlier report or none in {folder}, found {foreign[0]}, which no {FILE_NAME} there names. "
            f"Choose another --out, or delete {tops} if nobody needs it."
        )


def remove_stale(
    folder: Path, manifest: Manifest | None, source: str, written: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Delete the earlier report's files that were made from something else and not written again.

    Returns (those that stay, because they were made from the same, those deleted).
    """
    rest = [name for name in (manifest.files if manifest else ()) if name not in set(written)]
    there = [name for name in rest if (folder / name).is_file()]
    if manifest and manifest.source == source:
        return there, []
    for name in there:
        (folder / name).unlink()
    return [], there


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and len(path.parts) > 0
