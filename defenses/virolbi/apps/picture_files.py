"""One picture file smoothed into another of the same size, which is written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from harness.errors import UserError
from harness.files import write_whole
from harness.files.pictures import frames_of

from .folder_log import FolderLog

JPEG_QUALITY = 95
_WITH_ALPHA = {"1": "LA", "L": "LA", "P": "RGBA", "PA": "RGBA", "RGB": "RGBA"}
_KEPT = ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "F")
"""Modes that hold the colours of a smoothed picture and that files are written in."""
_UNLIKE_SCREENS = ("CMYK", "LAB")
"""Modes whose colour profile would be wrong for the RGB picture that is written."""


class Smoother(Protocol):
    """What smooths a picture: `defenses.virolbi.InverseScaleSmoothing`."""

    def smooth_picture(self, picture: Image.Image) -> tuple[Image.Image, str]:
        """The smoothed picture, of the same mode, and its outcome: `reached`, `unreachable` or `max_iterations`."""

    def options(self) -> dict[str, Any]:
        """The settings, by name."""


def smooth_file(source: Path, target: Path, smoother: Smoother, log: FolderLog | None = None) -> str:
    """Smooth one picture file into another, in the format that the target's ending names; returns the outcome.

    Raises: UserError when the source cannot be read as a picture, or the target cannot be written or is the source.
    """
    picture, color_format = _read(source)
    _check_ending(target)
    if target.exists() and target.samefile(source):
        raise UserError(f"{source} and {target} are the same file; the original would be lost. Name another OUT.")
    try:
        result, outcome = smoother.smooth_picture(picture)
    except UserError as error:
        raise UserError(f"the picture {source} cannot be smoothed: {error}") from error
    unique = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]  # short, whatever the name
    temporary = target.with_name(f".{unique}.partial{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(temporary, _encoded(result, target.suffix, color_format))
        if log is not None:
            log.add(source, temporary, outcome)
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without the name of the temporary file
        raise UserError(f"{target} cannot be written: {reason}. OUT needs an ending such as .png or .jpg.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return outcome


def _check_ending(target: Path) -> None:
    """Raises: UserError for an ending that names no format which can be written."""
    ending = target.suffix.lower()
    if Image.registered_extensions().get(ending) not in Image.SAVE:
        reason = f"{ending} is the ending of no picture that can be written" if ending else "it has no ending"
        raise UserError(f"{target} cannot be written: {reason}. OUT needs an ending such as .png or .jpg.")


def _read(path: Path) -> tuple[Image.Image, bytes | None]:
    """The picture, upright and in a mode that holds any colour, and its colour profile.

    A transparent colour becomes transparent pixels.
    """
    try:
        with Image.open(path) as file:
            _check_single(file, path)
            profile = None if file.mode in _UNLIKE_SCREENS else file.info.get("icc_profile")
            picture = ImageOps.exif_transpose(file)
            picture.load()
            return _widened(picture), profile
    except UnidentifiedImageError as error:
        raise UserError(f"expected a picture, got another format at {path}.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"the picture {path} cannot be read: {error}.") from error


def _check_single(file: Image.Image, path: Path) -> None:
    """Raises: UserError for several pages or frames: all but the first would be lost."""
    if (frames := frames_of(file)) > 1:
        raise UserError(f"{path} holds {frames} frames; smooth knows single pictures. Save each frame as a file.")


def _widened(picture: Image.Image) -> Image.Image:
    transparent = "transparency" in picture.info or picture.mode == "PA"
    if transparent and picture.mode in _WITH_ALPHA:
        return picture.convert(_WITH_ALPHA[picture.mode])
    if picture.mode in _KEPT:
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _encoded(picture: Image.Image, ending: str, color_format: bytes | None) -> bytes:
    """The picture as a file of the format that its ending names."""
    if picture.mode in ("I", "I;16B"):  # most formats hold 16 bits at most, in this order
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16))
    kind = Image.registered_extensions()[ending.lower()]
    options: dict[str, Any] = {"quality": JPEG_QUALITY, "subsampling": 0} if kind == "JPEG" else {}
    stream = io.BytesIO()
    picture.save(stream, kind, icc_profile=color_format, **options)
    return stream.getvalue()
