"""`imagefolder:DIR`, pictures in one folder per class, with ImageNet-C where the user has it."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import numpy as np

from harness.cache import ArrayCache, digest_of
from harness.contracts.dataset import Dataset, SplitName
from harness.errors import UserError
from harness.registry import datasets
from harness.types import Split

from ._decode import BLOCK, DECODER, Picture, decode_all, resize_and_crop
from ._files import DATA, content_digest, read_names
from ._normalization import IMAGENET_MEAN, IMAGENET_STD
from ._official import ImageNetC

SHIPPED_LISTS = ("imagenet100-kaggle", "imagenet100-cmc")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
_ROOTS: dict[SplitName, tuple[str, ...]] = {
    # Kaggle's ImageNet100 comes as train.X1 to train.X4 and val.X; ImageNet's own `test` has no labels.
    "train": ("train", "train.X*"),
    "test": ("test", "val", "val.X"),
}
_WORDNET_ID = re.compile(r"n\d{8}")
IMAGENET_CLASSES = 1000


class Listing:
    """The pictures of one split by class, then by file name, and their labels."""

    def __init__(self, folders: dict[str, Path], classes: tuple[str, ...]) -> None:
        by_class = [_pictures_in(folders[name]) for name in classes]
        self.files = [file for files in by_class for file in files]
        self.labels = np.repeat(np.arange(len(classes)), [len(files) for files in by_class])


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
        self.name = name or Path(folder).resolve().name
        self._folders: dict[SplitName, dict[str, Path]] = {
            split: _class_folders(Path(folder), split) for split in _ROOTS
        }
        self.classes = _class_names(classes, self._folders["train"])
        _check_classes(self.classes, self._folders, everything=classes is None, folder=Path(folder))
        self._has_wordnet_ids = all(map(_WORDNET_ID.fullmatch, self.classes))
        if any(set(self.classes) == set(read_names(DATA / f"{name}.txt")) for name in SHIPPED_LISTS):
            self.family = "imagenet100"
        elif self._has_wordnet_ids and len(self.classes) == IMAGENET_CLASSES:
            self.family = "imagenet"

    def load(self, split: SplitName) -> Split:
        """Pictures by class, then by file name. Raises: UserError naming a file that cannot be decoded."""
        listing = self._listings[split]
        key = {
            "files": content_digest(listing.files, Path(self.folder), self.cache),
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
        names = [f"{file.parent.name}/{file.stem}" for file in self._listings["test"].files]
        return ImageNetC(self.data_root / "ImageNet-C", names, self.size)

    @cached_property
    def _listings(self) -> dict[SplitName, Listing]:
        return {split: Listing(folders, self.classes) for split, folders in self._folders.items()}


def _class_folders(folder: Path, split: SplitName) -> dict[str, Path]:
    """The class folders of a split by name, from the first layout that has any."""
    if not folder.is_dir():
        raise UserError(f"expected a folder of pictures; {str(folder)!r} is no folder.")
    for pattern in _ROOTS[split]:
        roots = [root for root in sorted(folder.glob(pattern)) if root.is_dir()]
        folders = {place.name: place for root in roots for place in _visible(root) if place.is_dir()}
        if folders:
            return folders
    layouts = " or ".join(f"{pattern}/CLASS/" for pattern in _ROOTS[split])
    raise UserError(f"{folder} has no {split} split: expected folders {layouts} with pictures in them.")


def _class_names(classes: str | None, folders: dict[str, Path]) -> tuple[str, ...]:
    if classes is None:
        return tuple(sorted(folders))
    if classes in SHIPPED_LISTS:
        return read_names(DATA / f"{classes}.txt")
    if not Path(classes).is_file():
        raise UserError(f"classes: expected a file or one of {', '.join(SHIPPED_LISTS)}, got {classes!r}.")
    return read_names(Path(classes))


def _check_classes(
    classes: tuple[str, ...], by_split: dict[SplitName, dict[str, Path]], *, everything: bool, folder: Path
) -> None:
    """Raises: UserError where a split lacks a class or, if `everything` is used, has one more."""
    for split, folders in by_split.items():
        absent = [name for name in classes if name not in folders]
        surplus = sorted(folders.keys() - set(classes)) if everything else []
        if absent or surplus:
            some = ", ".join((absent or surplus)[:3])
            problem = "lacks the class folders" if absent else "has class folders that the training split lacks:"
            raise UserError(f"the {split} split of {folder} {problem} {some} ({len(absent or surplus)} in all).")


def _pictures_in(folder: Path) -> list[Path]:
    files = [file for file in _visible(folder) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise UserError(f"{folder} holds no pictures; expected files ending in {', '.join(sorted(SUFFIXES))}.")
    return files


def _visible(folder: Path) -> list[Path]:
    """A folder's entries, sorted, without hidden ones: archives from a Mac hold a ._NAME beside each file."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
