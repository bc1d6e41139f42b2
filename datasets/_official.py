"""The published corrupted test sets, where the user has them: CIFAR-10-C, CIFAR-100-C, ImageNet-C.

A run asks for fingerprints when it is planned; that decodes nothing. It asks for images when it evaluates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.errors import UserError
from harness.files import reading
from harness.files.pictures import Picture
from harness.types import SEVERITIES, check_severity

from ._decode import decode_all, resize_and_crop

CIFAR_FOLDERS = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
_SAMPLED = 16
"""How many images of a severity go into its fingerprint; their number and shape are those of every severity."""


class CifarC:
    """CIFAR-10-C or CIFAR-100-C for a test split with `labels` [N]: one `.npy` per corruption.

    A file holds the N test images five times, severity after severity.
    """

    def __init__(self, folder: Path, labels: np.ndarray) -> None:
        self.folder = folder
        self.labels = labels

    def fits(self) -> bool:
        """Whether the images are in the order of `labels`; copies of CIFAR are sometimes shuffled."""
        return (self.folder / "labels.npy").is_file() and self._labels_agree()

    def fingerprint(self, corruption: str, severity: int) -> str | None:
        """A digest of 16 images spread over the severity's rows; None without a file of this corruption.

        Raises: UserError when the file does not hold five times N images, or its labels are not the split's.
        """
        check_severity(severity)
        path = self._path(corruption)
        if not path.is_file():
            return None
        images = self._rows(path, severity)
        if not self._labels_agree():
            raise UserError(
                f"{self.folder / 'labels.npy'} does not hold the test labels; expected the data set it was made from."
            )
        digest = hashlib.sha256(repr(images.shape).encode())
        for row in np.unique(np.linspace(0, len(images) - 1, _SAMPLED).astype(int)):
            digest.update(np.ascontiguousarray(images[row]).data)
        return digest.hexdigest()

    def images(self, corruption: str, severity: int, indices: np.ndarray) -> np.ndarray:
        """The images [B,3,32,32] uint8 at these positions. Raises: UserError when the file cannot be used."""
        check_severity(severity)
        return self._rows(self._path(corruption), severity)[indices]

    def _path(self, corruption: str) -> Path:
        return self.folder / f"{corruption}.npy"

    def _rows(self, path: Path, severity: int) -> np.ndarray:
        """One severity as a memory-mapped view [N,3,32,32]."""
        count = len(self.labels)
        images = _mapped(path, (len(SEVERITIES) * count, 32, 32, 3))
        return images[(severity - 1) * count : severity * count].transpose(0, 3, 1, 2)

    def _labels_agree(self) -> bool:
        path = self.folder / "labels.npy"
        if not path.is_file():
            raise UserError(f"{path} is missing; expected it beside the corrupted images, as in the published archive.")
        labels, count = _mapped(path, None), len(self.labels)
        if labels.dtype.kind not in "iu":
            raise UserError(f"{path} should hold integers, got {labels.dtype}.")
        fits = labels.shape in {(count,), (len(SEVERITIES) * count,)}
        return fits and bool((labels.reshape(-1, count) == self.labels).all())


class ImageNetC:
    """ImageNet-C for a test split: `folder/corruption/severity/NAME.JPEG` for every name.

    The published pictures are 224×224; with size=224 they are not scaled.

    names: in the order of the split, such as "n01440764/ILSVRC2012_val_00000293"
    """

    def __init__(self, folder: Path, names: Sequence[str], size: int) -> None:
        self.folder = folder
        self.names = names
        self.size = size

    def fingerprint(self, corruption: str, severity: int) -> str | None:
        """A digest of the names and sizes of the split's files; None without a folder of this condition.

        Raises: UserError when files are missing.
        """
        check_severity(severity)
        place = self.folder / corruption / str(severity)
        if not place.is_dir():
            return None
        sizes = {name: _size(place / f"{name}.JPEG") for name in self.names}
        missing = [name for name, size in sizes.items() if size is None]
        if missing:
            example = place / f"{missing[0]}.JPEG"
            raise UserError(f"{place} lacks {len(missing)} of the {len(sizes)} test images, {example} for example.")
        listed = "".join(f"{name}\0{size}\n" for name, size in sizes.items())
        return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()

    def images(self, corruption: str, severity: int, indices: np.ndarray) -> np.ndarray:
        """The pictures at these positions, decoded: [B,3,size,size] uint8. Raises: UserError naming a broken one."""
        check_severity(severity)
        files = [self.folder / corruption / str(severity) / f"{self.names[index]}.JPEG" for index in indices]
        change = resize_and_crop(self.size, self.size)
        return decode_all((Picture(file, str(file)) for file in files), (self.size, self.size), change)


def _size(file: Path) -> int | None:
    """The file's size in bytes; None where there is no file."""
    try:
        return file.stat().st_size
    except OSError:
        return None


def _mapped(path: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    with reading(path, "a NumPy file", " Fetch it again."):
        array = np.lib.format.open_memmap(path, mode="r")
    if shape is not None and (array.shape != shape or array.dtype != np.uint8):
        raise UserError(f"{path} should hold uint8 {shape}, got {array.dtype} {array.shape}.")
    return array
