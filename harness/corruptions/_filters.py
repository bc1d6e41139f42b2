"""Shared by several corruptions: linear filters, and OpenCV."""

from __future__ import annotations

import functools
import importlib
import math
from types import ModuleType

import numpy as np

from harness.corruptions.base import Pixels
from harness.errors import UserError


def opencv() -> ModuleType:
    """OpenCV. Raises: UserError with advice where it cannot be imported, since it needs system libraries."""
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise UserError(
            f"OpenCV cannot be imported ({error}). Install the system's libGL (Debian: apt-get install libgl1), or "
            "opencv-python-headless in place of opencv-python."
        ) from error


def gaussian(image: Pixels, deviation: float) -> Pixels:
    """Gaussian blur of an image [H,W,C] or [H,W], the border repeated outwards, cut at four deviations."""
    from scipy.ndimage import gaussian_filter

    deviations = (deviation, deviation, 0.0)[: image.ndim]
    return gaussian_filter(image, deviations, mode="nearest", truncate=4.0)


def smear(image: Pixels, radius: int, deviation: float, angle: float) -> Pixels:
    """Motion blur of an image [H,W,C] or [H,W]: half a Gaussian along a ray at `angle` degrees.

    The ray has 2·radius+1 points a pixel apart, each at its nearest pixel; the border is repeated outwards. This
    is ImageMagick's motion blur, which made the published files.
    """
    distances = np.arange(2 * radius + 1)
    weights = np.exp(-(distances**2) / (2 * deviation**2))
    weights /= weights.sum()
    direction = (math.sin(math.radians(angle)), math.cos(math.radians(angle)))
    offsets = np.ceil(np.outer(distances, direction) - 0.5).astype(int)
    pad = int(np.abs(offsets).max())
    padded = np.pad(image, [(pad, pad), (pad, pad), (0, 0)][: image.ndim], mode="edge")
    height, width = image.shape[:2]
    out = np.zeros_like(image)
    for weight, (down, right) in zip(weights, offsets + pad, strict=True):
        out += weight * padded[down : down + height, right : right + width]
    return out


@functools.lru_cache(maxsize=256)
def zoom_matrix(size: int, factor: float) -> np.ndarray:
    """[size,size], the linear map of a column of pixels to its middle enlarged `factor` times.

    The middle holds ⌈size/factor⌉ pixels. Its first and last pixel keep their values, as in SciPy's `zoom`, and what
    is too long afterwards is trimmed on both sides, as for the published files.
    """
    crop = math.ceil(size / factor)
    zoomed = round(crop * factor)
    rows = np.arange(size) + (zoomed - size) // 2
    positions = rows * (crop - 1) / max(zoomed - 1, 1) + (size - crop) // 2
    return np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(size)))
