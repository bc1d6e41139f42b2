"""`parquet:DIR`, a folder of Parquet files in Hugging Face's image layout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from harness.cache import ArrayCache, digest_of
from harness.contracts.dataset import Dataset, SplitName
from harness.errors import UserError
from harness.files.pictures import DECODER, Picture, read_size
from harness.progress import say
from harness.registry import datasets
from harness.types import SMALL_IMAGE, Split

from ._decode import decode_all, resize_and_crop
from ._files import cifar_family, content_digest, no_split
from ._normalization import IMAGENET_MEAN, IMAGENET_STD
from ._official import CIFAR_FOLDERS, CifarC
from ._parquet_files import LAYOUT, files_by_split
from ._shards import Shards

_SAMPLE = 512
"""Training images from which the normalisation of small images other than CIFAR's is computed."""


@datasets.register("parquet")
class Parquet(Dataset):
    """Images in DIR/train-*.parquet and DIR/test-*.parquet, as Hugging Face stores them: parquet:DIR."""

    def __init__(
        self, *, folder: str, name: str | None = None, size: int | None = None, data_root: Path, cache: ArrayCache
    ) -> None:
        """Read the files' schemas; images are decoded when a split is loaded, and kept in `cache`.

        name: the data set's name in tables, by default the folder's
        size: brings images to size×size by resizing the shorter side and cropping the centre; needed where they differ
        in size
        Raises: UserError when the folder is missing or not in this layout.
        """
        if size is not None and size < 1:
            raise UserError(f"parquet: size must be 1 or more, got {size}.")
        self.folder = folder
        self.size = size
        self.data_root = data_root
        self.cache = cache
        self._root = Path(folder).expanduser()
        self.name = name or self._root.resolve().name
        self._shards = _open_splits(self._root)
        self._first = self._shards.get("train") or self._shards["test"]
        self.classes = self._first.classes()
        for shards in self._shards.values():
            shards.match_classes(self.classes, self._first)
        self._describe()

    def load(self, split: SplitName) -> Split:
        """The rows in the order of the files.

        Raises: UserError where there is no such split, and naming the file and row that cannot be used.
        """
        if split not in self._shards:
            raise no_split(self.folder, split, LAYOUT)
        shards = self._shards[split]
        labels = shards.labels()
        content = content_digest(shards.files, self._root, self.cache)
        key = {"files": content, "size": self.size, "decoder": DECODER}
        images = self.cache.array(
            "parquet",
            key,
            shape=(len(shards), 3, *self._side),
            dtype=np.uint8,
            fill=lambda rows: self._decode(shards.pictures(range(rows.start, rows.stop))),
        )
        return Split(images=images, labels=labels, indices=np.arange(len(shards)), digest=digest_of(key))

    def official(self, corruption: str, severity: int) -> str | None:
        """A fingerprint of CIFAR-10-C's or CIFAR-100-C's images, if these are CIFAR's in their official order."""
        cifar_c = self._cifar_c
        return cifar_c.fingerprint(corruption, severity) if cifar_c is not None and cifar_c.fits() else None

    def corrupted(self, corruption: str, severity: int, indices: np.ndarray) -> np.ndarray:
        """These test images as CIFAR-10-C or CIFAR-100-C under the data root has them, [B,3,32,32] uint8."""
        cifar_c = self._cifar_c
        if cifar_c is None:
            return super().corrupted(corruption, severity, indices)
        return cifar_c.images(corruption, severity, indices)

    @property
    def _cifar_c(self) -> CifarC | None:
        if self.family not in CIFAR_FOLDERS:
            return None
        return CifarC(self.data_root / CIFAR_FOLDERS[self.family], self.test().labels)

    @cached_property
    def _side(self) -> tuple[int, int]:
        if self.size is not None:
            return self.size, self.size
        return read_size(next(self._first.pictures(range(1))))

    def _describe(self) -> None:
        cifar = cifar_family(self.classes, self._side)
        if cifar is not None:
            self.family, self.mean, self.std = cifar.name, cifar.mean, cifar.std
        elif max(self._side) > SMALL_IMAGE:
            self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        else:
            self.mean, self.std = self._measured_normalization()

    def _measured_normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        shards = self._first
        rows = range(0, len(shards), max(1, len(shards) // _SAMPLE))
        images = self._decode(shards.pictures(rows)) / 255
        spread = np.maximum(images.std((0, 2, 3)), 1 / 255)  # a constant channel would lead to a division by 0
        return tuple(images.mean((0, 2, 3)).tolist()), tuple(spread.tolist())

    def _decode(self, pictures: Iterator[Picture]) -> np.ndarray:
        return decode_all(pictures, self._side, resize_and_crop(self.size, self.size) if self.size else None)


def _open_splits(root: Path) -> dict[SplitName, Shards]:
    """The splits that are there. Of a test split whose labels are withheld, the validation split takes the place."""
    files = files_by_split(root)
    splits: dict[SplitName, Shards] = {}
    if "train" in files:
        splits["train"] = Shards(files["train"])
    tests = [name for name in ("test", "validation") if name in files]
    if not tests:
        raise no_split(str(root), "test", LAYOUT)
    test = Shards(files[tests[0]])
    if len(tests) > 1 and test.is_unlabelled():
        say(f"{root}: the labels of the test split are withheld (all −1); its validation split is scored.")
        test = Shards(files["validation"])
    splits["test"] = test
    return splits
