"""Decodes picture files to arrays of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from harness.errors import UserError
from harness.files.pictures import Picture, decode

BLOCK = 256
"""How many large pictures are decoded at a time."""


def decode_all(
    pictures: Iterable[Picture], expected: tuple[int, int], change: Callable[[Image.Image], Image.Image] | None = None
) -> np.ndarray:
    """The pictures as one array [N,3,H,W] uint8, RGB, each after `change`.

    Raises: UserError naming the first picture that cannot be decoded or is not of the expected (height, width).
    """
    with ThreadPoolExecutor() as pool:
        arrays = list(pool.map(lambda picture: _pixels(picture, expected, change), pictures))
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


def _pixels(
    picture: Picture, expected: tuple[int, int], change: Callable[[Image.Image], Image.Image] | None
) -> np.ndarray:
    colour = decode(picture)
    pixels = np.asarray(change(colour) if change else colour)
    if pixels.shape[:2] != expected:
        sizes = f"{pixels.shape[0]}×{pixels.shape[1]} pixels, others {expected[0]}×{expected[1]}"
        raise UserError(f"images differ in size: {picture.place} has {sizes}. Add size=N to bring all to N×N.")
    return pixels
