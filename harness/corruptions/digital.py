"""Corruptions by the camera and by file formats: contrast, colour, resolution, JPEG, warping."""

from __future__ import annotations

import io

import numpy as np

from harness.corruptions._filters import opencv
from harness.corruptions.base import Pixels, severities
from harness.registry import corruptions

_PUBLISHED_STRETCH = 244 / 224
"""ImageNet-C's elastic constants are multiples of 244 pixels on images of 224."""


@corruptions.register("contrast")
@severities(cifar=(0.75, 0.5, 0.4, 0.3, 0.15), imagenet=(0.4, 0.3, 0.2, 0.1, 0.05))
def contrast(image: Pixels, rng: np.random.Generator, keep: float) -> Pixels:
    """Less distance from each channel's mean."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return mean + keep * (image - mean)


@corruptions.register("saturate")
@severities(
    cifar=((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
    imagenet=((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
)
def saturate(image: Pixels, rng: np.random.Generator, factor: float, offset: float) -> Pixels:
    """Paler colours at severities 1 and 2, stronger ones from 3 on."""
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(image)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + offset, 0.0, 1.0)
    return hsv2rgb(hsv)


@corruptions.register("pixelate")
@severities(cifar=(0.95, 0.9, 0.85, 0.75, 0.65), imagenet=(0.6, 0.5, 0.4, 0.3, 0.25))
def pixelate(image: Pixels, rng: np.random.Generator, share: float) -> Pixels:
    """Down to a share of the size by box averages, and up again in blocks."""
    from PIL import Image

    picture = Image.fromarray(_levels(image))
    small = (max(1, int(picture.width * share)), max(1, int(picture.height * share)))
    blocks = picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX)
    return np.asarray(blocks) / 255.0


@corruptions.register("jpeg_compression")
@severities(cifar=(80, 65, 58, 50, 40), imagenet=(25, 18, 15, 10, 7))
def jpeg_compression(image: Pixels, rng: np.random.Generator, quality: int) -> Pixels:
    """JPEG at a quality of 1–100; a larger one keeps more."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_levels(image)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255.0


@corruptions.register("elastic_transform")
@severities(
    cifar=((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    imagenet=tuple(
        tuple(_PUBLISHED_STRETCH * constant for constant in constants)
        for constants in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    ),
)
def elastic_transform(
    image: Pixels, rng: np.random.Generator, amplitude: float, smoothness: float, skew: float
) -> Pixels:
    """A random affine map, then a smooth random displacement; constants are multiples of the shorter side."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    height, width = image.shape[:2]
    side = min(height, width)
    skewed = _random_affine(image, rng, skew * side)
    # One draw for each axis: first to the right, then downwards.
    right, down = (
        amplitude * side * gaussian_filter(noise, smoothness * side, mode="reflect", truncate=3.0)
        for noise in rng.uniform(-1, 1, size=(2, height, width))
    )
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([rows + down, columns + right])
    warped = [map_coordinates(channel, places, order=1, mode="reflect") for channel in np.moveaxis(skewed, -1, 0)]
    return np.stack(warped, axis=-1)


def _random_affine(image: Pixels, rng: np.random.Generator, reach: float) -> Pixels:
    """A random affine map: it moves three corners of a central square by up to `reach` pixels along each axis."""
    cv2 = opencv()
    height, width = image.shape[:2]
    arm = min(height, width) // 3
    corners = np.array([[arm, arm], [arm, -arm], [-arm, -arm]]) + np.array([width // 2, height // 2])
    moved = corners + rng.uniform(-reach, reach, size=corners.shape)
    matrix = cv2.getAffineTransform(corners.astype(np.float32), moved.astype(np.float32))
    warped = cv2.warpAffine(image.astype(np.float32), matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, float)


def _levels(image: Pixels) -> np.ndarray:
    """The image in 256 levels, uint8."""
    return np.rint(image * 255.0).astype(np.uint8)
