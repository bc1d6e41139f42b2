"""`cifar10` and `cifar100`, read by torchvision, with the official corrupted test sets where the user has them."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.contracts.dataset import Dataset, SplitName, digest_of_arrays
from harness.errors import UserError
from harness.registry import datasets
from harness.types import Split

from ._files import CIFAR10, CIFAR100, Family
from ._official import CIFAR_FOLDERS, CifarC


class Cifar(Dataset):
    """CIFAR-10 or CIFAR-100, as a subclass says."""

    _published: ClassVar[Family]
    _torchvision: ClassVar[str]
    _folder: ClassVar[str]

    def __init__(self, *, download: bool = False, data_root: Path) -> None:
        self.download = download
        self.data_root = data_root
        self.name = self.family = self._published.name
        self.classes, self.mean, self.std = self._published.classes, self._published.mean, self._published.std
        if not download and not (data_root / self._folder).is_dir():
            raise UserError(
                f"{self.name} expects its files in {data_root / self._folder}, which does not exist. "
                f"Write {self.name}:download=true to fetch them, or give --data-root."
            )

    def load(self, split: SplitName) -> Split:
        """The official split of 50,000 or 10,000 images, 32×32, in the official order.

        Raises: UserError when a file is missing or its checksum is wrong, or when the download fails.
        """
        loaded = self._read(split)
        images = np.ascontiguousarray(loaded.data.transpose(0, 3, 1, 2))
        labels = np.asarray(loaded.targets, np.int64)
        return Split(
            images=images, labels=labels, indices=np.arange(len(labels)), digest=digest_of_arrays(images, labels)
        )

    def official(self, corruption: str, severity: int) -> str | None:
        """A fingerprint of CIFAR-10-C's or CIFAR-100-C's images under the data root; None without them."""
        return self._cifar_c.fingerprint(corruption, severity)

    def corrupted(self, corruption: str, severity: int, indices: np.ndarray) -> np.ndarray:
        """These test images as CIFAR-10-C or CIFAR-100-C has them, [B,3,32,32] uint8."""
        return self._cifar_c.images(corruption, severity, indices)

    @property
    def _cifar_c(self) -> CifarC:
        return CifarC(self.data_root / CIFAR_FOLDERS[self._published.name], self.test().labels)

    def _read(self, split: SplitName) -> Any:
        from torchvision import datasets as vision  # takes seconds to import

        reader = getattr(vision, self._torchvision)
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
                # The published pickles hold NumPy 1's types.
                warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
                return reader(str(self.data_root), train=split == "train", download=self.download)
        except (RuntimeError, OSError) as error:
            raise UserError(self._advice(error)) from error

    def _advice(self, error: Exception) -> str:
        place = self.data_root / self._folder
        if self.download:
            return f"{self.name} could not be downloaded to {self.data_root}: {error}"
        return (
            f"the files of {self.name} in {place} are incomplete or corrupt (checksums differ). "
            f"Delete that folder and write {self.name}:download=true to fetch them again."
        )


@datasets.register("cifar10")
class Cifar10(Cifar):
    """CIFAR-10 (Krizhevsky 2009): 50,000/10,000 images, 32×32, ten classes."""

    _published, _torchvision, _folder = CIFAR10, "CIFAR10", "cifar-10-batches-py"


@datasets.register("cifar100")
class Cifar100(Cifar):
    """CIFAR-100 (Krizhevsky 2009): 50,000/10,000 images, 32×32, a hundred classes."""

    _published, _torchvision, _folder = CIFAR100, "CIFAR100", "cifar-100-python"
