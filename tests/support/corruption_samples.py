"""Images to corrupt."""

from __future__ import annotations

import numpy as np
from PIL import Image
from skimage import data

from harness import corruptions

ALL = corruptions.COMMON + corruptions.EXTRA

SETS = ("cifar", "imagenet")


def photograph(height: int, width: int) -> np.ndarray:
    """[H,W,3] uint8."""
    cropped = Image.fromarray(data.astronaut()[:400, 100:400])
    return np.asarray(cropped.resize((width, height), Image.Resampling.BILINEAR))


def corrupt(images: np.ndarray, name: str, severity: int = 3, seed: int = 0) -> np.ndarray:
    return corruptions.corrupt(images, name, severity, seed=seed, indices=np.arange(len(images)))


def raw(name: str, image: np.ndarray, constants_set: str, severity: int, seed: int = 0) -> np.ndarray:
    """The corruption itself, before clipping."""
    corruption = corruptions.get(name)
    return corruption(image, np.random.default_rng(seed), *corruption.constants(constants_set, severity))
