"""Picture files as RGB, by Pillow: for every data set and command, so that a file means the same to all of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from harness.errors import HarnessError, UserError, first_line
from harness.files import is_regular

DECODER = 2
"""Raised when a change of this file changes pixels; part of every key and digest of decoded images."""
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
"""Formats whose mode I holds 16 bits, in some versions of Pillow."""
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
MUCH_MORE = 4
"""How many times as much contrast a transparent picture must have on black to be put there: white ink has."""
_FIRST_IS_ALL = ("MPO",)
"""Formats whose first frame is the picture: behind the JPEG cameras put previews and maps of brightness."""
_TURNED = range(5, 9)
"""EXIF orientations by which width and height change places."""
_ORIENTATION = 0x0112


class Picture(NamedTuple):
    """An encoded picture."""

    source: bytes | Path
    place: str
    """Where it came from, for error texts."""


def read_size(picture: Picture) -> tuple[int, int]:
    """(height, width) as decoded, read from the header only. Raises: UserError when it is no picture."""
    with _reading(picture), _opened(picture) as image:
        turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _TURNED  # Pillow has turned a TIFF's
        return (image.width, image.height) if turned else (image.height, image.width)


def decode(picture: Picture) -> Image.Image:
    """The picture in RGB, upright as its file says.

    16 bits become 8. Transparent parts become white, or black where much more can be seen on black.
    Raises: UserError when it is no picture, holds several frames, or is in a mode whose range is not known: 32 bits,
    floats beyond [0,1].
    """
    with _reading(picture), _opened(picture) as file:
        if (frames := frames_of(file)) > 1:
            raise UserError(
                f"{picture.place} holds {frames} frames; expected a single picture. Save the one that counts."
            )
        return _to_rgb(ImageOps.exif_transpose(file), file.format or "", picture.place)


def frames_of(file: Image.Image) -> int:
    """How many pictures an opened file holds, as an animation or pages."""
    return 1 if file.format in _FIRST_IS_ALL else getattr(file, "n_frames", 1)


def _to_rgb(image: Image.Image, kind: str, place: str) -> Image.Image:
    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and kind in _SIXTEEN_BIT_FORMATS):
        return _from_shares(np.asarray(image, np.float64) / 65535)
    if image.mode == "F":
        values = np.asarray(image, np.float64)
        if not (values.min() >= 0 and values.max() <= 1):
            raise UserError(
                f"{place}: expected floats from 0 to 1 (mode F), got {values.min():g} to {values.max():g}. "
                "Save it with 8 or 16 bits."
            )
        return _from_shares(values)
    if image.mode == "I":
        raise UserError(f"{place}: the range of its 32-bit integers (mode I) is not known. Save it with 8 or 16 bits.")
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        return _on_white_or_black(image.convert("RGBA"))
    return image.convert("RGB")


def _from_shares(values: np.ndarray) -> Image.Image:
    """A gray picture from shares [H,W] of white."""
    return Image.fromarray(np.round(255 * values).astype(np.uint8)).convert("RGB")


def _on_white_or_black(image: Image.Image) -> Image.Image:
    white, black = (
        Image.alpha_composite(Image.new("RGBA", image.size, (shade, shade, shade)), image).convert("RGB")
        for shade in (255, 0)
    )
    return black if _contrast(black) > MUCH_MORE * _contrast(white) else white


def _contrast(image: Image.Image) -> float:
    """The standard deviation of its values."""
    return float(np.asarray(image, np.float32).std())


def _opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.source) if isinstance(picture.source, bytes) else picture.source)


@contextmanager
def _reading(picture: Picture) -> Iterator[None]:
    """Raises: UserError for whatever goes wrong in the block, a pipe or a device included."""
    try:
        if isinstance(picture.source, Path) and not is_regular(picture.source):
            raise UserError(f"{picture.place} is a folder, a pipe or a device, not a picture.")
        yield
    except HarnessError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{picture.place} is not a picture in a format that Pillow reads.") from error
    except Exception as error:  # Pillow raises many kinds for files that are missing, cut short or malformed
        raise UserError(f"{picture.place} cannot be decoded as a picture: {first_line(error)}.") from error
