"""From Pillow pictures of any usual mode to planes of numbers, and back to a picture of the same mode."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from harness.errors import UserError

GRAY = ("1", "L", "LA")
NUMBERS = {"I": 65535, "I;16": 65535, "I;16B": 65535, "F": 1}
"""Modes of one number a pixel, and the number that is white."""
MODES = (*GRAY, "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", *NUMBERS)


def to_planes(picture: Image.Image) -> np.ndarray:
    """[C,H,W] float32 in [0,1]; C is 1 for gray pictures and 3 for all others, transparency aside.

    Raises: UserError for a mode of another kind, and for numbers beyond white or below black.
    """
    if picture.mode not in MODES:
        raise UserError(f"expected a picture of mode {', '.join(MODES)}, got {picture.mode}. Convert it to RGB first.")
    if picture.mode in NUMBERS:
        return _from_numbers(picture)
    if picture.mode in GRAY:
        return np.asarray(picture.convert("L"), np.float32)[None] / 255
    colors = picture.convert("RGBA") if picture.mode == "P" else picture  # a palette may hold transparent colours
    return np.asarray(colors.convert("RGB"), np.float32).transpose(2, 0, 1) / 255


def like_picture(planes: np.ndarray, original: Image.Image) -> Image.Image:
    """A picture of the original's mode from [C,H,W] in [0,1], rounded to what the mode can hold.

    Transparency is the original's. A picture with a palette keeps it and takes the nearest of its colours.
    """
    if original.mode in NUMBERS:
        return _to_numbers(planes[0], original)
    values = np.rint(planes * 255).astype(np.uint8)
    if original.mode == "P":
        return _in_palette(values, original)
    picture = Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))
    if original.mode in ("LA", "RGBA"):
        picture.putalpha(original.getchannel("A"))
    return picture.convert(original.mode, dither=Image.Dither.NONE)


def _from_numbers(picture: Image.Image) -> np.ndarray:
    white = NUMBERS[picture.mode]
    planes = np.asarray(picture, np.float32)[None] / white
    if not ((planes >= 0) & (planes <= 1)).all():  # NaN is neither
        raise UserError(f"expected values in [0,{white}] in a picture of mode {picture.mode}, got others.")
    return planes


def _to_numbers(plane: np.ndarray, original: Image.Image) -> Image.Image:
    kind = np.asarray(original).dtype
    values = plane * NUMBERS[original.mode]
    return Image.fromarray((np.rint(values) if kind.kind in "iu" else values).astype(kind))


def _in_palette(values: np.ndarray, original: Image.Image) -> Image.Image:
    """The original with every opaque pixel set to the nearest colour among those of its opaque pixels."""
    indices, before = np.array(original), np.asarray(original.convert("RGBA"))
    opaque = before[..., 3] == 255
    used, first = np.unique(indices[opaque], return_index=True)
    if len(used):
        nearest = cKDTree(before[opaque][first, :3]).query(values.transpose(1, 2, 0)[opaque])[1]
        indices[opaque] = used[nearest]
    picture = original.copy()
    picture.frombytes(indices.tobytes())
    return picture
