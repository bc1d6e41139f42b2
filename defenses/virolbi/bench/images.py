"""The images that benchmarks smooth: a photograph, generated images, or those of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from harness.errors import UserError
from harness.files import reading

DISCS = 150
"""Discs in a generated image, so many that they cover nearly all of it."""
RADII = (0.04, 0.5)
"""The least and largest radius as a share of a side.

A radius's probability falls with its cube, so that each scale covers the same area.
"""
GRAIN = 0.02
"""Standard deviation of the noise that keeps neighbours unequal."""

Images = Callable[[int, int], np.ndarray]
"""From (how many, pixels a side) to images [B,C,H,W], float32 in [0,1] or uint8."""


def gray_picture(file: Path | None, size: int) -> tuple[np.ndarray, str]:
    """[1,size,size] float32 in [0,1], and its name: a picture file, or the astronaut that scikit-image brings.

    Colours become gray by ITU-R 601, and pixels are averaged over boxes. Raises: UserError when it cannot be read.
    """
    picture, name = (_astronaut(), "astronaut of scikit-image") if file is None else (_opened(file), file.name)
    small = picture.convert("L").resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, np.float32)[None] / 255, name


def generated(channels: int = 3, seed: int = 0) -> Images:
    """Dead leaves under noise: discs of random size and colour that cover each other, a model of natural images.

    The first images are the same however many are made.
    """

    def make(count: int, size: int) -> np.ndarray:
        streams = [np.random.default_rng([seed, size, number]) for number in range(count)]
        return np.stack([_dead_leaves(channels, size, rng) for rng in streams])

    return make


def from_dataset(images: np.ndarray) -> Images:
    """The images [N,C,H,W] uint8 of a data set, repeated from the first on; scaled where another size is asked for."""

    def make(count: int, size: int) -> np.ndarray:
        some = images[np.arange(count) % len(images)]
        return some if some.shape[2:] == (size, size) else np.stack([_scaled(image, size) for image in some])

    return make


def _dead_leaves(channels: int, size: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] / size
    image = np.full((channels, size, size), 0.5)
    smallest, largest = (radius**-2.0 for radius in RADII)
    for _ in range(DISCS):
        radius = (largest + (smallest - largest) * rng.random()) ** -0.5
        y, x = rng.random(2)
        image[:, (rows - y) ** 2 + (columns - x) ** 2 < radius**2] = rng.random((channels, 1))
    return np.clip(image + rng.normal(0, GRAIN, image.shape), 0, 1).astype(np.float32)


def _scaled(image: np.ndarray, size: int) -> np.ndarray:
    """[C,size,size] of an image [C,H,W] uint8."""
    planes = [Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR) for plane in image]
    return np.stack([np.asarray(plane) for plane in planes])


def _astronaut() -> Image.Image:
    from skimage import data

    try:
        return Image.fromarray(data.astronaut())
    except Exception as error:  # a distribution may leave the pictures out, and their download may fail with any error
        raise UserError(f"this scikit-image brings no astronaut ({error}). Name a picture with --image.") from error


def _opened(file: Path) -> Image.Image:
    with reading(file, "a picture for --image"):
        picture = Image.open(file)
        picture.load()
    return picture
