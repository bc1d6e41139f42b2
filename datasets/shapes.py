"""`shapes`: ten outlines generated from a seed; only the large-scale outline tells the class."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from harness.contracts.dataset import Dataset, SplitName, digest_of_arrays
from harness.errors import UserError
from harness.registry import datasets
from harness.types import Preset, Split

SIDE = 32
PER_CLASS = {"train": 400, "test": 100}
AREA = 150.0
"""Pixels that an outline covers at scale 1; the same for all classes, so that no colour statistic tells the class."""
SCALE = (0.8, 1.15)
SHIFT = 2.0
"""The largest shift of the centroid along an axis, in pixels; no object reaches the image's outermost pixels."""
TURN = math.radians(10)
"""The largest rotation in either direction; small, since a diamond is a square turned by 45 degrees."""
COLOUR = (0.2, 0.8)
CONTRAST = 0.3
"""The smallest distance between the colours of an object and its background, over the three channels."""
SHADING = 0.08
"""The largest change of brightness from the image's centre to the middle of a side."""
GRATING = 0.08
WAVELENGTH = (2.5, 5.0)
GRAIN = (0.02, 0.07)
_CHUNK = 250

Plane = np.ndarray
Outline = Callable[[Plane, Plane], Plane]
"""Signed distance, negative inside, to an outline of area 1 with its centroid at the origin."""


@datasets.register("shapes")
class Shapes(Dataset):
    """Ten outlines in random colours and textures, 32×32, generated in memory (the embedded default)."""

    mean = (0.5, 0.5, 0.5)
    std = (0.18, 0.18, 0.18)

    def __init__(self, *, seed: int = 0) -> None:
        if seed < 0:
            raise UserError(f"shapes: seed must be 0 or more, got {seed}.")
        self.seed = seed
        self.name = f"shapes:seed={seed}" if seed else "shapes"
        self.classes = tuple(OUTLINES)

    def usual_backbone(self, preset: Preset) -> str:
        """The smallest network tells outlines apart."""
        return "resnet_small"

    def load(self, split: SplitName) -> Split:
        """4,000 training or 1,000 test images, as many of each class; the two splits are drawn independently."""
        stream = {"train": 0, "test": 1}[split]
        rng = np.random.default_rng([self.seed, stream])
        labels = rng.permutation(np.repeat(np.arange(len(OUTLINES)), PER_CLASS[split]))
        images = np.concatenate([_draw(part, rng) for part in np.split(labels, len(labels) // _CHUNK)])
        return Split(
            images=images, labels=labels, indices=np.arange(len(labels)), digest=digest_of_arrays(images, labels)
        )


def _draw(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images [N,3,32,32] uint8. Labels decide the coverage only; all random draws are made without them."""
    poses, colours = Poses.draw(len(labels), rng), _two_colours(len(labels), rng)
    background, foreground = (colour + _texture(len(labels), rng) for colour in colours)
    coverage = np.empty((len(labels), 1, SIDE, SIDE), np.float32)
    for label, outline in enumerate(OUTLINES.values()):
        rows = labels == label
        coverage[rows, 0] = _coverage(outline, poses.take(rows))
    image = background + coverage * (foreground - background) + _shading(len(labels), rng)
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


class Poses(NamedTuple):
    """Where each object lies; each field is [N]."""

    x: np.ndarray
    """Of the centroid, in pixels from the image's centre; `y` likewise."""
    y: np.ndarray
    turn: np.ndarray
    """In radians."""
    size: np.ndarray
    """The square root of the area, in pixels."""

    @classmethod
    def draw(cls, n: int, rng: np.random.Generator) -> Poses:
        """`n` random ones."""
        x, y = rng.uniform(-SHIFT, SHIFT, (2, n))
        return cls(x, y, rng.uniform(-TURN, TURN, n), math.sqrt(AREA) * rng.uniform(*SCALE, n))

    def take(self, rows: np.ndarray) -> Poses:
        """Those of the rows in a mask [N]."""
        return Poses(*(values[rows] for values in self))


def _coverage(outline: Outline, poses: Poses) -> np.ndarray:
    """The share of each pixel the object covers, [N,32,32]: a ramp one pixel wide across the outline."""
    x, y = (_per_image(shift) for shift in poses[:2])
    cos, sin = _per_image(np.cos(poses.turn) / poses.size), _per_image(np.sin(poses.turn) / poses.size)
    dx, dy = _PIXELS[None, None, :] - x, _PIXELS[None, :, None] - y
    distance = outline(cos * dx + sin * dy, cos * dy - sin * dx) * _per_image(poses.size)
    return np.clip(0.5 - distance, 0, 1)


def _two_colours(n: int, rng: np.random.Generator) -> np.ndarray:
    """Colours [2,N,3,1,1] of background and object, exchangeable and at least `CONTRAST` apart."""
    colours = rng.uniform(*COLOUR, (2, n, 3))
    while (close := np.square(colours[0] - colours[1]).sum(axis=1) < CONTRAST**2).any():
        colours[:, close] = rng.uniform(*COLOUR, (2, int(close.sum()), 3))
    return colours.astype(np.float32)[..., None, None]


def _texture(n: int, rng: np.random.Generator) -> np.ndarray:
    """Fine stripes and grain around zero, [N,3,32,32] float32, of random direction, width, colour and strength.

    Stripes are triangle waves, not sines, whose last bit differs between processors.
    """
    angle, wavelength = rng.uniform(0, 2 * math.pi, n), rng.uniform(*WAVELENGTH, n)
    across = (
        _per_image(np.cos(angle) / wavelength) * _PIXELS + _per_image(np.sin(angle) / wavelength) * _PIXELS[:, None]
    )
    phase = across + _per_image(rng.uniform(0, 1, n))
    wave = 4 * np.abs(phase - np.floor(phase) - 0.5) - 1
    strength = rng.uniform(-GRATING, GRATING, (n, 3, 1, 1)).astype(np.float32)
    grain = rng.random((n, 3, SIDE, SIDE), dtype=np.float32) * 2 - 1
    return strength * wave[:, None] + _per_image(rng.uniform(*GRAIN, n))[:, None] * grain


def _shading(n: int, rng: np.random.Generator) -> np.ndarray:
    """A brightness ramp over the whole image, [N,1,32,32]."""
    ramp_x, ramp_y = rng.uniform(-SHADING, SHADING, (2, n)) / (SIDE / 2)
    return (_per_image(ramp_x) * _PIXELS + _per_image(ramp_y) * _PIXELS[:, None])[:, None]


def _per_image(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


_PIXELS = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2


def _length(x: Plane, y: Plane) -> Plane:
    return np.sqrt(x * x + y * y)


def disk(x: Plane, y: Plane) -> Plane:
    """A disk of radius 1/√π."""
    return _length(x, y) - math.sqrt(1 / math.pi)


def ring(x: Plane, y: Plane) -> Plane:
    """What lies between two circles, the inner one 0.55 times as wide."""
    outer = math.sqrt(1 / (math.pi * (1 - 0.55**2)))
    inner = 0.55 * outer
    return np.abs(_length(x, y) - (outer + inner) / 2) - (outer - inner) / 2


def half_disk(x: Plane, y: Plane) -> Plane:
    """The half of a disk that lies below its flat side."""
    radius = math.sqrt(2 / math.pi)
    from_flat_side = y + 4 * radius / (3 * math.pi)
    return np.maximum(_length(x, from_flat_side) - radius, -from_flat_side)


def polygon(*corners: tuple[float, float]) -> Outline:
    """The outline of a simple polygon, moved to its centroid and scaled to area 1."""
    points = np.array(corners, float)
    following = np.roll(points, -1, axis=0)
    cross = points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]
    area = cross.sum() / 2
    centroid = ((points + following) * cross[:, None]).sum(axis=0) / (6 * area)
    return partial(distance_to_polygon, (points - centroid) / math.sqrt(abs(area)))


def distance_to_polygon(corners: np.ndarray, x: Plane, y: Plane) -> Plane:
    """The signed distance to a polygon with these corners [K,2]."""
    nearest = np.full(x.shape, np.inf, np.float32)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        dx, dy = x - ax - along * ex, y - ay - along * ey
        np.minimum(nearest, dx * dx + dy * dy, out=nearest)
        if ey:  # a ray to the right of the pixel crosses this side
            inside ^= ((y < ay) != (y < by)) & (x < ax + (y - ay) * (ex / ey))
    return np.sqrt(nearest) * np.where(inside, np.float32(-1), np.float32(1))


def star(points: int, inner: float) -> Outline:
    """A star with so many points, whose inner corners lie at `inner` times the radius of the points."""
    angles = [math.pi * (k / points - 0.5) for k in range(2 * points)]
    radii = [inner if k % 2 else 1.0 for k in range(2 * points)]
    return polygon(*((r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)))


OUTLINES: dict[str, Outline] = {
    "disk": disk,
    "ring": ring,
    "half_disk": half_disk,
    "square": polygon((0, 0), (1, 0), (1, 1), (0, 1)),
    "diamond": polygon((1, 0), (0, 1), (-1, 0), (0, -1)),
    "triangle": polygon((-1, 0), (1, 0), (0, -math.sqrt(3))),
    "cross": polygon((1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (2, 2), (2, 3), (1, 3), (1, 2), (0, 2), (0, 1), (1, 1)),
    "star": star(5, 0.45),
    "bar": polygon((0, 0), (3, 0), (3, 1), (0, 1)),
    "corner": polygon((0, 0), (1, 0), (1, 2), (3, 2), (3, 3), (0, 3)),
}
"""In the order of the labels."""
