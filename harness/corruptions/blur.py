"""Blurs: of focus, of frosted glass, of motion."""

from __future__ import annotations

import functools

import numpy as np

from harness.corruptions._filters import gaussian, opencv, smear, zoom_matrix
from harness.corruptions.base import Pixels, severities
from harness.registry import corruptions


@corruptions.register("gaussian_blur")
@severities(cifar=(0.4, 0.6, 0.7, 0.8, 1.0), imagenet=(1.0, 2.0, 3.0, 4.0, 6.0))
def gaussian_blur(image: Pixels, rng: np.random.Generator, deviation: float) -> Pixels:
    """Gaussian blur; a larger deviation blurs more."""
    return gaussian(image, deviation)


@corruptions.register("defocus_blur")
@severities(
    cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
    imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
)
def defocus_blur(image: Pixels, rng: np.random.Generator, radius: float, smoothing: float) -> Pixels:
    """Average over a disk, as by a lens out of focus."""
    return np.asarray(opencv().filter2D(image, -1, _disk(radius, smoothing)), float)


@corruptions.register("glass_blur")
@severities(
    cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    imagenet=((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
)
def glass_blur(image: Pixels, rng: np.random.Generator, deviation: float, reach: int, rounds: int) -> Pixels:
    """Pixels displaced at random by up to `reach`, between two Gaussian blurs, as behind frosted glass."""
    # The published code rounds down to 8 bits here.
    smooth = np.floor(gaussian(image, deviation) * 255.0) / 255.0
    return gaussian(_displace(smooth, rng, reach, rounds), deviation)


@corruptions.register("motion_blur")
@severities(
    cifar=((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
    imagenet=((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
)
def motion_blur(image: Pixels, rng: np.random.Generator, radius: int, deviation: float) -> Pixels:
    """Blur along a line within 45° of the horizontal, as by a moving camera."""
    return smear(image, radius, deviation, rng.uniform(-45, 45))


@corruptions.register("zoom_blur")
@severities(
    cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
)
def zoom_blur(image: Pixels, rng: np.random.Generator, end: float, step: float) -> Pixels:
    """Mean of the image and of its enlargements from 1 up to `end`, as by a camera moving forward."""
    height, width = image.shape[:2]
    down, across = _zoom_matrices(height, end, step), _zoom_matrices(width, end, step)
    rows = np.tensordot(down, image, axes=(2, 0))
    total = np.moveaxis(np.tensordot(rows, across, axes=([0, 2], [0, 2])), -1, 1)
    return (image + total) / (len(down) + 1)


@functools.lru_cache(maxsize=16)
def _disk(radius: float, smoothing: float) -> np.ndarray:
    from imagecorruptions.corruptions import disk

    return disk(radius=radius, alias_blur=smoothing)


@functools.lru_cache(maxsize=16)
def _zoom_matrices(size: int, end: float, step: float) -> np.ndarray:
    return np.stack([zoom_matrix(size, float(factor)) for factor in np.arange(1, end, step)])


def _displace(image: Pixels, rng: np.random.Generator, reach: int, rounds: int) -> Pixels:
    """From the lower right on, each pixel takes the current value of a random neighbour.

    The published code intends to swap the two, but assigns views of one array, so that the neighbour's value stays.
    The published files were made with that code.
    """
    height, width = image.shape[:2]
    places = np.arange(height * width).reshape(height, width)
    targets = places[height - reach : reach : -1, width - reach : reach : -1]
    source = places.ravel().tolist()
    for _ in range(rounds):
        steps = rng.integers(-reach, reach, size=(2, *targets.shape))
        moved = targets + steps[0] * width + steps[1]
        for target, neighbour in zip(targets.ravel().tolist(), moved.ravel().tolist(), strict=True):
            source[target] = source[neighbour]
    return image.reshape(height * width, -1)[source].reshape(image.shape)
