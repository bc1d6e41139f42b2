"""Which Parquet files a folder holds for each split: as Hugging Face names them, each set complete."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import UserError
from harness.files import file_digest
from harness.progress import say

LAYOUT = "files such as train-*.parquet, test-*.parquet or validation-*.parquet, in DIR or DIR/data"
_WORDS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "validation": ("validation", "valid", "val", "dev"),
}
"""The words by which Hugging Face knows a split in the name of a file or folder."""
_NUMBERED = re.compile(r"(.*?)(\d+)[-_. ]of[-_. ](\d+)", re.IGNORECASE)
"""A file of a set: 00001-of-00003."""


def files_by_split(root: Path) -> dict[str, list[Path]]:
    """The files of each split that is there: `train`, `test`, `validation`, in the order of their names.

    Raises: UserError where the folder is missing or holds no Parquet files, and for a set that is not complete or is
    mixed with another.
    """
    if not root.is_dir():
        raise UserError(f"parquet expects a folder of Parquet files; {str(root)!r} is no folder.")
    files: dict[str, list[Path]] = defaultdict(list)
    unknown = []
    for file in _parquet_files(root):
        split = _split_of(file.relative_to(root))
        if split is None:
            unknown.append(file)
        else:
            files[split].append(file)
    for split, members in files.items():
        _check_set(split, members)
    if unknown and files:
        say(f"{root}: {len(unknown)} Parquet files of no known split are left out, {unknown[0].name} for example.")
    return dict(files)


def _parquet_files(root: Path) -> list[Path]:
    """The files in the folder or its `data`, and in folders of splits inside; else in its only folder with any."""
    for place in (root, root / "data"):
        inside = [place, *(each for each in _folders(place) if _split_of(Path(each.name)) is not None)]
        files = sorted(file for folder in inside for file in _parquet_in(folder))
        if any(_split_of(file.relative_to(root)) is not None for file in files):
            return files
    others = {folder: sorted(_parquet_in(folder)) for folder in _folders(root)}
    several = {folder.name: files for folder, files in others.items() if files}
    if len(several) > 1:
        raise UserError(f"{root} holds several data sets: {', '.join(several)}. Name one of these folders.")
    return next(iter(several.values()), [])


def _parquet_in(folder: Path) -> list[Path]:
    files = folder.iterdir() if folder.is_dir() else []
    return [file for file in files if file.suffix.lower() == ".parquet" and not file.name.startswith(".")]


def _folders(place: Path) -> list[Path]:
    entries = place.iterdir() if place.is_dir() else []
    return sorted(each for each in entries if each.is_dir() and not each.name.startswith("."))


def _split_of(path: Path) -> str | None:
    """The split that a file's or folder's name tells; the file's own name counts before its folder's."""
    for name in reversed(path.parts):
        words = re.split(r"[^a-z]+", Path(name).name.lower())
        for split, known in _WORDS.items():
            if any(word in words for word in known):
                return split
    return None


def _check_set(split: str, files: Sequence[Path]) -> None:
    """Raises: UserError for files of several sets, and a set that lacks a file or has one twice."""
    sets: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for file in files:
        numbered = _NUMBERED.match(file.name)
        sets[(f"{file.parent}/{numbered[1]}", numbered[3]) if numbered else ("", "")].append(file)
    if len(sets) > 1:
        several = ", ".join(members[0].name for members in sets.values())
        raise UserError(
            f"the {split} split in {files[0].parent} mixes files of {len(sets)} uploads: {several}. Keep one of them."
        )
    ((_, total),) = sets
    if total:
        _check_numbers(split, files, int(total))
    _refuse_copies(split, files)


def _refuse_copies(split: str, files: Sequence[Path]) -> None:
    """Raises: UserError for two files of one content: `test (1).parquet` of a second download."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for file in files:
        if file.is_file():
            by_size[file.stat().st_size].append(file)
    for members in by_size.values():
        if len(members) > 1 and len({file_digest(file) for file in members}) < len(members):
            names = " and ".join(file.name for file in members)
            raise UserError(f"the {split} split has one file twice: {names} hold the same. Keep one of them.")


def _check_numbers(split: str, files: Iterable[Path], total: int) -> None:
    by_number: dict[int, list[Path]] = defaultdict(list)
    for file in files:
        numbered = _NUMBERED.match(file.name)
        assert numbered is not None
        by_number[int(numbered[2])].append(file)
    twice = next((members for members in by_number.values() if len(members) > 1), None)
    if twice is not None:
        names = " and ".join(file.name for file in twice)
        raise UserError(f"the {split} split has one file twice, of two uploads: {names}. Keep one upload.")
    first = 1 if 0 not in by_number and total in by_number else 0  # some count from 1
    strange = next((members[0] for number, members in by_number.items() if not first <= number < first + total), None)
    if strange is not None:
        raise UserError(f"the {split} split holds {strange.name}, which is no part of its {total} files. Remove it.")
    missing = [number for number in range(first, first + total) if number not in by_number]
    if missing:
        some = ", ".join(f"{number:05d}-of-{total:05d}" for number in missing[:3])
        raise UserError(f"the {split} split lacks {len(missing)} of {total} files: {some}. Fetch them.")
