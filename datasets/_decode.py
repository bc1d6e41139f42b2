"""Decodes picture files to arrays, by Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from harness.errors import UserError

DECODER = 1
"""Raised when a change of this file changes pixels; part of every key and digest of decoded images."""
BLOCK = 256
"""How many large pictures are decoded at a time."""
_BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises for files that are missing, cut short or malformed."""


class Picture(NamedTuple):
    """An encoded picture."""

    source: bytes | Path
    place: str
    """Where it came from, for error texts."""


def read_size(picture: Picture) -> tuple[int, int]:
    """(height, width), read from the header only. Raises: UserError when it is no picture."""
    with _opened(picture) as image:
        return image.height, image.width


def decode_all(
    pictures: Iterable[Picture], expected: tuple[int, int], change: Callable[[Image.Image], Image.Image] | None = None
) -> np.ndarray:
    """The pictures as one array [N,3,H,W] uint8, RGB, each after `change`.

    Raises: UserError naming the first picture that cannot be decoded or is not of the expected (height, width).
    """
    with ThreadPoolExecutor() as pool:
        arrays = list(pool.map(lambda picture: _decode(picture, expected, change), pictures))
    return np.stack(arrays).transpose(0, 3, 1, 2)


def resize_and_crop(resize: int, size: int) -> Callable[[Image.Image], Image.Image]:
    """Brings the shorter side to `resize` (bilinear, antialiased) and crops the central square, as torchvision does."""

    def change(image: Image.Image) -> Image.Image:
        width, height = (resize * side // min(image.size) for side in image.size)
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - size) / 2), round((height - size) / 2)
        return image.crop((left, top, left + size, top + size))

    return change


def _decode(
    picture: Picture, expected: tuple[int, int], change: Callable[[Image.Image], Image.Image] | None
) -> np.ndarray:
    with _opened(picture) as image:
        try:
            colour = image.convert("RGB")
        except _BROKEN as error:
            raise UserError(f"{picture.place} cannot be decoded as a picture: {error}.") from error
    pixels = np.asarray(change(colour) if change else colour)
    if pixels.shape[:2] != expected:
        sizes = f"{pixels.shape[0]}×{pixels.shape[1]} pixels, others {expected[0]}×{expected[1]}"
        raise UserError(f"images differ in size: {picture.place} has {sizes}. Add size=N to bring all to N×N.")
    return pixels


def _opened(picture: Picture) -> Image.Image:
    try:
        return Image.open(io.BytesIO(picture.source) if isinstance(picture.source, bytes) else picture.source)
    except UnidentifiedImageError as error:
        raise UserError(f"{picture.place} is not a picture in a format that Pillow reads.") from error
    except _BROKEN as error:
        raise UserError(f"{picture.place} cannot be opened as a picture: {error}.") from error
