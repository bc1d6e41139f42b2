"""Natural corruptions of Hendrycks & Dietterich (ICLR 2019), with CIFAR-C's constants and ImageNet-C's.

One file a family; each function draws from the generator it is given. They use SciPy, OpenCV and the
kernels and pictures of `imagecorruptions`, but not its corruptions: that package has ImageNet's constants only, and
draws from NumPy's global state. Tests compare the two.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable

import numpy as np

from harness.corruptions.base import Constants, ConstantsSet, Corruption
from harness.errors import UserError
from harness.registry import corruptions
from harness.types import SMALL_IMAGE, check_severity

PAPER = ("gaussian_noise", "shot_noise", "impulse_noise")
"""The three that the ViRoLBI paper evaluates."""
COMMON = (
    *PAPER,
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The fifteen of the mean corruption error, in the order papers print them."""
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four that were published beside them, for validation."""
JPEG_QUALITY = 85
"""Of the published ImageNet-C files, which are JPEG with colours at half resolution (4:2:0)."""


def corrupt(
    images: np.ndarray, name: str, severity: int, *, seed: int, indices: np.ndarray, jpeg: bool = True
) -> np.ndarray:
    """Corrupt images [B,C,H,W] uint8, C of 1 or 3; the same shape and type come back.

    An image's result depends on that image, the name, the severity, the seed and its index only. It is clipped to
    [0,1], scaled to 255 and truncated, as for the published files. With ImageNet's constants it then goes through JPEG,
    as those files did; CIFAR-C's are arrays. Noise treats a gray image as it is; other corruptions get it as three
    equal channels, and the mean of the result is kept.

    severity: 1–5; larger corrupts more
    indices: [B] the images' positions in their full split
    jpeg: false leaves the JPEG step out
    Raises: UserError for an unknown name, a severity outside 1–5, a negative seed, or images of another form.
    """
    _check(images, seed)
    corruption = get(name)
    set_name = constants_set(images.shape[2], images.shape[3])
    constants = corruption.constants(set_name, severity)
    out = np.empty(images.shape, np.uint8)
    for row, (image, index) in enumerate(zip(images, indices, strict=True)):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), severity, int(index)])
        corrupted = _corrupt_one(corruption, image, rng, constants)
        out[row] = _through_jpeg(corrupted) if jpeg and set_name == "imagenet" else corrupted
    return out


def get(name: str) -> Corruption:
    """The corruption of that name. Raises: UserError for an unknown name, and for one without constants."""
    entry = corruptions.entry(name)
    if not isinstance(entry.factory, Corruption):
        raise UserError(f"the corruption {name!r} ({entry.place}) has no constants: decorate it with @severities(…).")
    return entry.factory


def choose(names: Iterable[str]) -> tuple[str, ...]:
    """The corruptions that a user's names stand for, each once: "all" for every one, no name for the paper's three.

    Raises: UserError for an unknown name.
    """
    unique = tuple(dict.fromkeys(names))
    if "all" in unique:
        published = COMMON + EXTRA
        return published + tuple(name for name in corruptions.names() if name not in published)
    for name in unique:
        get(name)
    return unique or PAPER


def constants_set(height: int, width: int) -> ConstantsSet:
    """The published constants for images of this size: CIFAR's up to 64 pixels a side, else ImageNet's."""
    return "cifar" if max(height, width) <= SMALL_IMAGE else "imagenet"


def _corrupt_one(
    corruption: Corruption, image: np.ndarray, rng: np.random.Generator, constants: Constants
) -> np.ndarray:
    pixels = np.moveaxis(image, 0, -1) / 255.0
    as_colour = len(image) == 1 and not corruption.elementwise
    if as_colour:
        pixels = np.repeat(pixels, 3, axis=2)
    levels = np.clip(corruption(pixels, rng, *constants), 0.0, 1.0) * 255.0
    if as_colour:
        levels = levels.mean(axis=2, keepdims=True)
    return np.moveaxis(levels, -1, 0).astype(np.uint8)


def _through_jpeg(image: np.ndarray) -> np.ndarray:
    """An image [C,H,W] uint8 as it comes out of a file of ImageNet-C's format."""
    from PIL import Image

    file = io.BytesIO()
    picture = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    decoded = np.asarray(Image.open(file))
    return decoded[None] if len(image) == 1 else np.moveaxis(decoded, -1, 0)


def _check(images: np.ndarray, seed: int) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UserError(
            f"corruptions expect images [B,C,H,W] uint8 of 1 or 3 channels, got {list(images.shape)} {images.dtype}."
        )
    if seed < 0:
        raise UserError(f"a seed must be 0 or more, got {seed}.")


__all__ = ["COMMON", "EXTRA", "JPEG_QUALITY", "PAPER", "check_severity", "choose", "constants_set", "corrupt", "get"]
