"""Photographs as arrays of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from harness.errors import UserError
from harness.files import PICTURES
from harness.files.pictures import Picture, decode
from harness.progress import say


def find_photographs(source: Path | None) -> tuple[Path, ...]:
    """The pictures in a folder, sorted by name, or the one file that is named.

    Raises: UserError when there are none.
    """
    if source is None:
        return ()
    if source.is_file():
        return (source,)
    if not source.is_dir():
        raise UserError(f"--images expects a picture or a folder of pictures, got nothing at {source}.")
    pictures = sorted(path for path in source.iterdir() if path.suffix.lower() in PICTURES and path.is_file())
    if not pictures:
        raise UserError(f"--images expects pictures ({', '.join(PICTURES)}), got none in {source}.")
    return tuple(pictures)


def read_photograph(path: Path, size: int) -> np.ndarray | None:
    """The middle square of a picture, upright, scaled to [3,size,size] uint8.

    None for a picture that cannot be read, after a line that says why.
    """
    try:
        upright = decode(Picture(path, str(path)))
    except UserError as error:
        say(f"left out: {error}")
        return None
    square = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
