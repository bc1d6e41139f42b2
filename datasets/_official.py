"""The published corrupted test sets, where the user has them: CIFAR-10-C, CIFAR-100-C, ImageNet-C."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.cache import ArrayCache
from harness.errors import UserError

from ._decode import BLOCK, DECODER, Picture, decode_all, resize_and_crop
from ._files import content_digest

SEVERITIES = 5
CIFAR_FOLDERS = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}


def cifar_c(folder: Path, corruption: str, severity: int, labels: np.ndarray) -> np.ndarray | None:
    """One severity of `folder/corruption.npy`, a memory-mapped view [N,3,32,32] uint8; None without that file.

    The file holds the N test images five times, severity after severity. Raises: UserError when it does not, or
    when its labels are not `labels` [N].
    """
    _check_severity(severity)
    path = folder / f"{corruption}.npy"
    if not path.is_file():
        return None
    images = _mapped(path, (SEVERITIES * len(labels), 32, 32, 3))
    rows = slice((severity - 1) * len(labels), severity * len(labels))
    if not _labels_agree(folder, labels):
        raise UserError(
            f"{folder / 'labels.npy'} does not hold the test labels; expected the data set it was made from."
        )
    return images[rows].transpose(0, 3, 1, 2)


def cifar_c_fits(folder: Path, labels: np.ndarray) -> bool:
    """Whether the folder's images are in the order of `labels`: copies of CIFAR are sometimes shuffled."""
    return (folder / "labels.npy").is_file() and _labels_agree(folder, labels)


def imagenet_c(
    folder: Path, corruption: str, severity: int, *, names: Sequence[str], size: int, cache: ArrayCache
) -> np.ndarray | None:
    """`folder/corruption/severity/NAME.JPEG` for every name, [N,3,size,size] uint8; None without that folder.

    names: "n01440764/ILSVRC2012_val_00000293", say, in the order of the test split. The published pictures are
    224×224 and kept as they are at that size. Raises: UserError when pictures are missing or broken.
    """
    _check_severity(severity)
    place = folder / corruption / str(severity)
    if not place.is_dir():
        return None
    files = [place / f"{name}.JPEG" for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UserError(f"{place} lacks {len(missing)} of the {len(files)} test images, {missing[0]} for example.")
    key = {"files": content_digest(files, place, cache), "size": size, "decoder": DECODER}
    change = resize_and_crop(size, size)
    return cache.array(
        "imagenet-c",
        key,
        shape=(len(files), 3, size, size),
        dtype=np.uint8,
        block=BLOCK,
        fill=lambda rows: decode_all((Picture(file, str(file)) for file in files[rows]), (size, size), change),
    )


def _check_severity(severity: int) -> None:
    if not 1 <= severity <= SEVERITIES:
        raise UserError(f"severity must be 1–{SEVERITIES}, got {severity}.")


def _labels_agree(folder: Path, labels: np.ndarray) -> bool:
    path = folder / "labels.npy"
    if not path.is_file():
        raise UserError(f"{path} is missing; expected it beside the corrupted images, as in the published archive.")
    found = _mapped(path, None)
    return found.shape in {(len(labels),), (SEVERITIES * len(labels),)} and bool(
        (found.reshape(-1, len(labels)) == labels).all()
    )


def _mapped(path: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is truncated or no NumPy file ({error}). Fetch it again.") from error
    if shape is not None and (array.shape != shape or array.dtype != np.uint8):
        raise UserError(f"{path} should hold uint8 {shape}, got {array.dtype} {array.shape}.")
    return array
