"""`imagefolder:DIR`, pictures in one folder per class, with ImageNet-C where the user has it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness.cache import ArrayCache, digest_of
from harness.contracts.dataset import Dataset, SplitName
from harness.errors import UserError
from harness.files import PICTURES
from harness.files.pictures import DECODER, Picture
from harness.progress import say
from harness.registry import datasets
from harness.types import Split

from ._decode import BLOCK, decode_all, resize_and_crop
from ._files import DATA, content_digest, no_split, read_names
from ._normalization import IMAGENET_MEAN, IMAGENET_STD
from ._official import ImageNetC

SHIPPED_LISTS = ("imagenet100-kaggle", "imagenet100-cmc")
_ROOTS: dict[SplitName, tuple[str, ...]] = {
    # Kaggle's ImageNet100 comes as train.X1 to train.X4 and val.X; ImageNet's own `test` has no labels.
    "train": ("train", "train.X*"),
    "test": ("test", "val", "valid", "validation", "val.X"),
}
_WORDNET_ID = re.compile(r"n\d{8}")
IMAGENET_CLASSES = 1000


class Listing:
    """The pictures of one split and their labels: by class, then in the order of torchvision's ImageFolder."""

    def __init__(self, folders: dict[str, list[Path]], classes: tuple[str, ...]) -> None:
        """Says how many files are left out. Raises: UserError for a class without pictures."""
        self.left_out: list[Path] = []
        by_class = [self._pictures_of(folders[name]) for name in classes]
        self.files = [file for files in by_class for file in files]
        self.labels = np.repeat(np.arange(len(classes)), [len(files) for files in by_class])
        if self.left_out:
            say(f"{len(self.left_out)} files are left out, by their names no pictures: {self.left_out[0]} for example.")

    def _pictures_of(self, folders: list[Path]) -> list[Path]:
        """The pictures of one class, in its folders and those inside them."""
        pictures: list[Path] = []
        for folder in folders:
            for file in _files_below(folder):
                (pictures if _is_picture(file) else self.left_out).append(file)
        if not pictures:
            expected = ", ".join(sorted(PICTURES))
            raise UserError(f"{folders[0]} holds no pictures; expected files ending in {expected}.")
        return pictures


@datasets.register("imagefolder")
class ImageFolder(Dataset):
    """Pictures in DIR/train/CLASS/ and DIR/test/CLASS/ or DIR/val/CLASS/: imagefolder:DIR."""

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self,
        *,
        folder: str,
        name: str | None = None,
        size: int = 224,
        resize: int = 256,
        classes: str | None = None,
        data_root: Path,
        cache: ArrayCache,
    ) -> None:
        """List the class folders; pictures are decoded when a split is loaded, and kept in `cache`.

        name: the data set's name in tables, by default the folder's
        size: pixels a side of the central square that is cropped
        resize: pixels of the shorter side before cropping
        classes: a file that lists the class folders to use, one a line, or "imagenet100-kaggle" or "imagenet100-cmc",
        two lists that come with the harness
        Raises: UserError when a folder is missing or empty, or the list names absent ones.
        """
        if not 1 <= size <= resize:
            raise UserError(f"imagefolder: expected 1 ≤ size ≤ resize, got size={size}, resize={resize}.")
        self.folder = folder
        self.size = size
        self.resize = resize
        self.class_list = classes
        self.data_root = data_root
        self.cache = cache
        self._root = Path(folder).expanduser()
        self.name = name or self._root.resolve().name
        self._folders = _folders_by_split(self._root)
        self.classes = _class_names(classes, self._folders.get("train") or self._folders["test"])
        _check_classes(self.classes, self._folders, everything=classes is None, folder=self._root)
        self._listings: dict[SplitName, Listing] = {}
        self._has_wordnet_ids = all(map(_WORDNET_ID.fullmatch, self.classes))
        if any(set(self.classes) == set(read_names(DATA / f"{name}.txt")) for name in SHIPPED_LISTS):
            self.family = "imagenet100"
        elif self._has_wordnet_ids and len(self.classes) == IMAGENET_CLASSES:
            self.family = "imagenet"

    def load(self, split: SplitName) -> Split:
        """Pictures by class, then by folder and file name.

        Raises: UserError where there is no such split, and naming a file that cannot be decoded.
        """
        listing = self._listing(split)
        key = {
            "files": content_digest(listing.files, self._root, self.cache),
            "size": self.size,
            "resize": self.resize,
            "decoder": DECODER,
        }
        side, change = (self.size, self.size), resize_and_crop(self.resize, self.size)
        images = self.cache.array(
            "imagefolder",
            key,
            shape=(len(listing.files), 3, *side),
            dtype=np.uint8,
            block=BLOCK,
            fill=lambda rows: decode_all((Picture(file, str(file)) for file in listing.files[rows]), side, change),
        )
        return Split(
            images=images, labels=listing.labels, indices=np.arange(len(listing.labels)), digest=digest_of(key)
        )

    def official(self, corruption: str, severity: int) -> str | None:
        """A fingerprint of ImageNet-C's pictures of the test split, where the classes are WordNet ids."""
        if not self._has_wordnet_ids:
            return None
        return self._imagenet_c.fingerprint(corruption, severity)

    def corrupted(self, corruption: str, severity: int, indices: np.ndarray) -> np.ndarray:
        """These test images as ImageNet-C under the data root has them, [B,3,size,size] uint8."""
        return self._imagenet_c.images(corruption, severity, indices)

    @cached_property
    def _imagenet_c(self) -> ImageNetC:
        listing = self._listing("test")
        names = [
            f"{self.classes[label]}/{file.stem}" for file, label in zip(listing.files, listing.labels, strict=True)
        ]
        return ImageNetC(self.data_root / "ImageNet-C", names, self.size)

    def _listing(self, split: SplitName) -> Listing:
        if split not in self._folders:
            raise no_split(self.folder, split, _layouts(split))
        if split not in self._listings:
            self._listings[split] = Listing(self._folders[split], self.classes)
        return self._listings[split]


def _folders_by_split(root: Path) -> dict[SplitName, dict[str, list[Path]]]:
    """The class folders of each split that is there. Raises: UserError without a test split."""
    if not root.is_dir():
        raise UserError(f"expected a folder of pictures; {str(root)!r} is no folder.")
    found = {split: _class_folders(root, split) for split in _ROOTS}
    if not found["test"]:
        raise no_split(str(root), "test", _layouts("test"))
    return {split: folders for split, folders in found.items() if folders}


def _layouts(split: SplitName) -> str:
    return "folders " + ", ".join(f"{pattern}/CLASS/" for pattern in _ROOTS[split]) + " with pictures in them"


def _class_folders(root: Path, split: SplitName) -> dict[str, list[Path]]:
    """The folders of each class of a split, from the first layout that has any; others are named and left out."""
    layouts: dict[str, dict[str, list[Path]]] = {}
    for pattern in _ROOTS[split]:
        folders: dict[str, list[Path]] = {}
        for part in sorted(root.glob(pattern)):
            entries = _visible(part) if part.is_dir() else []
            for place in entries:
                if place.is_dir():
                    folders.setdefault(place.name, []).append(place)
            loose = [place for place in entries if _is_picture(place)]
            if loose:
                say(f"{len(loose)} pictures in {part}, {loose[0].name} for example, lie in no class folder; left out.")
        if folders:
            layouts[pattern] = folders
    taken, *others = layouts or [""]
    if others:
        say(f"the {split} split is {root / taken}; {' and '.join(others)} beside it is not used.")
    return layouts.get(taken, {})


def _class_names(classes: str | None, folders: Mapping[str, Any]) -> tuple[str, ...]:
    if classes is None:
        return tuple(sorted(folders))
    if classes in SHIPPED_LISTS:
        return read_names(DATA / f"{classes}.txt")
    file = Path(classes).expanduser()
    if not file.is_file():
        raise UserError(f"classes: expected a file or one of {', '.join(SHIPPED_LISTS)}, got {classes!r}.")
    return read_names(file)


def _check_classes(
    classes: tuple[str, ...], by_split: dict[SplitName, dict[str, list[Path]]], *, everything: bool, folder: Path
) -> None:
    """Raises: UserError where a split lacks a class or, if `everything` is used, has one more."""
    for split, folders in by_split.items():
        absent = [name for name in classes if name not in folders]
        surplus = sorted(folders.keys() - set(classes)) if everything else []
        if absent or surplus:
            some = ", ".join((absent or surplus)[:3])
            problem = "lacks the class folders" if absent else "has class folders that the training split lacks:"
            raise UserError(f"the {split} split of {folder} {problem} {some} ({len(absent or surplus)} in all).")


def _files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and those inside it, in the order of torchvision's ImageFolder; links are followed.

    Raises: UserError for a folder that cannot be read, or that holds itself by a link.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from error

    names_by_place: dict[str, list[str]] = {}
    seen: set[Path] = set()
    for place, _, names in os.walk(folder, onerror=refuse, followlinks=True):
        resolved = Path(place).resolve()
        if resolved in seen:
            raise UserError(f"{place} is a link to a folder whose pictures were taken already. Remove the link.")
        seen.add(resolved)
        names_by_place[place] = sorted(names)
    for place in sorted(names_by_place):
        yield from (Path(place, name) for name in names_by_place[place])


def _is_picture(file: Path) -> bool:
    """By its ending; archives from a Mac hold a hidden ._NAME beside each file, which is none."""
    return file.suffix.lower() in PICTURES and not file.name.startswith(".") and file.is_file()


def _visible(folder: Path) -> list[Path]:
    """A folder's entries, sorted, without hidden ones. Raises: UserError when it cannot be read."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}.") from error
