"""Weather between the camera and the scene: snow, frost, fog, brightness, drops."""

from __future__ import annotations

import functools
import importlib.resources
import io
import math

import numpy as np

from harness.corruptions._filters import gaussian, opencv, smear, zoom_matrix
from harness.corruptions.base import Pixels, severities
from harness.registry import corruptions

_LUMA = np.array([0.299, 0.587, 0.114])
_FROST_PICTURES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
_WATER, _MUD = np.array([175, 238, 238]) / 255.0, np.array([63, 42, 20]) / 255.0


@corruptions.register("snow")
@severities(
    cifar=(
        (0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    imagenet=(
        (0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    version=2,
)
def snow(
    image: Pixels,
    rng: np.random.Generator,
    mean: float,
    deviation: float,
    size: float,
    threshold: float,
    radius: int,
    blur: float,
    keep: float,
) -> Pixels:
    """Streaks of snowflakes over a scene of which the share 1−`keep` is bleached.

    Flakes and streaks have 256 levels, as the pictures of 8 bits that the published code hands to ImageMagick and gets
    back: flakes are truncated to them, streaks rounded to 16 bits and then truncated.
    """
    height, width = image.shape[:2]
    noise = rng.normal(mean, deviation, (height, width))
    noise = zoom_matrix(height, size) @ noise @ zoom_matrix(width, size).T
    flakes = np.floor(np.clip(np.where(noise < threshold, 0.0, noise), 0.0, 1.0) * 255)
    streaks = smear(flakes, radius, blur, rng.uniform(-135, -45))
    layer = (np.rint(streaks * 257) // 257)[..., None] / 255
    bleached = np.maximum(image, (image @ _LUMA)[..., None] * 1.5 + 0.5)
    return keep * image + (1 - keep) * bleached + layer + np.rot90(layer, 2)


@corruptions.register("frost")
@severities(
    cifar=((1.0, 0.2, 0.2), (1.0, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    imagenet=((1.0, 0.4, 1.0), (0.8, 0.6, 1.0), (0.7, 0.7, 1.0), (0.65, 0.7, 1.0), (0.6, 0.75, 1.0)),
)
def frost(image: Pixels, rng: np.random.Generator, keep: float, ice: float, scale: float) -> Pixels:
    """A random part of one of five photographs of frost, scaled and added to the image."""
    height, width = image.shape[:2]
    picture = _frost_picture(int(rng.integers(len(_FROST_PICTURES))), scale, height, width)
    top = int(rng.integers(picture.shape[0] - height))
    left = int(rng.integers(picture.shape[1] - width))
    return keep * image + ice * (picture[top : top + height, left : left + width] / 255.0)


@corruptions.register("fog")
@severities(
    cifar=((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
    imagenet=((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
)
def fog(image: Pixels, rng: np.random.Generator, amount: float, decay: float) -> Pixels:
    """A cloud is added, and the sum scaled back to the image's brightest value."""
    height, width = image.shape[:2]
    cloud = _plasma(2 ** math.ceil(math.log2(max(height, width))), decay, rng)[:height, :width, None]
    brightest = image.max()
    return (image + amount * cloud) * brightest / (brightest + amount)


@corruptions.register("brightness")
@severities(cifar=(0.05, 0.1, 0.15, 0.2, 0.3), imagenet=(0.1, 0.2, 0.3, 0.4, 0.5))
def brightness(image: Pixels, rng: np.random.Generator, amount: float) -> Pixels:
    """More of HSV's value, as by daylight."""
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(image)
    hsv[..., 2] = np.clip(hsv[..., 2] + amount, 0.0, 1.0)
    return hsv2rgb(hsv)


# The CIFAR constants of `spatter` are those of ImageNet-C/create_c/make_cifar_c.py in github.com/hendrycks/robustness.
@corruptions.register("spatter")
@severities(
    cifar=(
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1.0, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    imagenet=(
        (0.65, 0.3, 4.0, 0.69, 0.6, 0),
        (0.65, 0.3, 3.0, 0.68, 0.6, 0),
        (0.65, 0.3, 2.0, 0.68, 0.5, 0),
        (0.65, 0.3, 1.0, 0.65, 1.5, 1),
        (0.67, 0.4, 1.0, 0.65, 1.5, 1),
    ),
)
def spatter(
    image: Pixels,
    rng: np.random.Generator,
    mean: float,
    deviation: float,
    blur: float,
    threshold: float,
    strength: float,
    muddy: int,
) -> Pixels:
    """Drops of water on the lens, or of mud at severities 4 and 5."""
    noise = gaussian(rng.normal(mean, deviation, image.shape[:2]), blur)
    liquid = np.where(noise < threshold, 0.0, noise)
    if not muddy:
        return image + _water_relief(liquid, strength)[..., None] * _WATER
    cover = gaussian((liquid > threshold).astype(float), strength)
    cover = np.where(cover < 0.8, 0.0, cover)[..., None]
    return image * (1 - cover) + cover * _MUD


@functools.lru_cache(maxsize=32)
def _frost_picture(number: int, scale: float, height: int, width: int) -> np.ndarray:
    """The picture [h,w,3] uint8, RGB, scaled; enlarged further where it would be smaller than the image."""
    from PIL import Image

    cv2 = opencv()  # first, since `imagecorruptions` imports it too and would fail with a worse error
    file = importlib.resources.files("imagecorruptions") / "frost" / _FROST_PICTURES[number]
    with Image.open(io.BytesIO(file.read_bytes())) as opened:
        picture = np.asarray(opened.convert("RGB"))
    enough = max((height + 1) / picture.shape[0], (width + 1) / picture.shape[1])
    factor = max(scale, enough)
    # Bilinear without antialiasing, as for the published files.
    return cv2.resize(picture, None, fx=factor, fy=factor)


def _plasma(size: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """A cloud [size,size] in [0,1] by the diamond-square method on a torus; `size` is a power of two.

    Midpoints are the mean of their four neighbours plus a uniform step, whose range falls by `decay` squared each
    time the grid is halved: larger `decay` gives a smoother cloud.
    """
    cloud = np.zeros((size, size))
    spacing, reach = size, 100.0**2
    while spacing >= 2:
        half = spacing // 2
        shape = (size // spacing, size // spacing)
        corners = cloud[::spacing, ::spacing]
        below = corners + np.roll(corners, -1, axis=0)
        centres = (below + np.roll(below, -1, axis=1)) / 4 + rng.uniform(-reach, reach, shape)
        beside = corners + np.roll(corners, -1, axis=1) + centres + np.roll(centres, 1, axis=0)
        between = below + centres + np.roll(centres, 1, axis=1)
        cloud[half::spacing, half::spacing] = centres
        cloud[::spacing, half::spacing] = beside / 4 + rng.uniform(-reach, reach, shape)
        cloud[half::spacing, ::spacing] = between / 4 + rng.uniform(-reach, reach, shape)
        spacing, reach = half, reach / decay**2
    cloud -= cloud.min()
    return cloud / max(cloud.max(), np.finfo(float).tiny)


def _water_relief(liquid: Pixels, strength: float) -> np.ndarray:
    """The brightness [H,W] of the water at each pixel, at most `strength`: drops lit from one side."""
    cv2 = opencv()
    drops = np.clip(liquid * 255, 0, 255).astype(np.uint8)
    depth = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    depth = cv2.blur(np.minimum(depth, 20), (3, 3)).astype(np.uint8)
    lit_from_above_left = np.array([[-2.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
    relief = cv2.filter2D(cv2.equalizeHist(depth), cv2.CV_8U, lit_from_above_left)
    shine = drops * cv2.blur(relief, (3, 3)).astype(float)
    return strength * shine / max(shine.max(), 1.0)
