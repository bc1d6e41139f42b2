"""Smoothing picture files: one or a folder, same size and format, written one by one in one step."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from harness.errors import UserError
from harness.packages import load_package
from harness.progress import say, track

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
JPEG_QUALITY = 95
_WITH_ALPHA = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}
_UNLIKE_SCREENS = ("CMYK", "LAB")
"""Modes whose colour profile would be wrong for the RGB picture that is written."""

Smoother = Callable[[np.ndarray], np.ndarray]


def smooth_pictures(source: Path, target: Path, *, level: float, nu: float) -> int:
    """Smooth `source` into `target`: a picture into a file or folder, a folder's pictures into a folder.

    Pictures that `target` already holds are left alone, so an interrupted call can be repeated. Returns the exit
    code: 1 when pictures of a folder could not be read, which are named.
    Raises: UserError when there is nothing to smooth, or the one picture asked for cannot be.
    """
    smoother = _smoother(level, nu)
    if source.is_dir():
        return _smooth_folder(source, target, smoother)
    if not source.is_file():
        raise UserError(f"expected a picture or a folder of pictures, found nothing at {source}.")
    destination = target / source.name if target.is_dir() else target
    smooth_file(source, destination, smoother)
    say(f"wrote {destination}")
    return 0


def _smooth_folder(source: Path, target: Path, smoother: Smoother) -> int:
    if target.exists() and not target.is_dir():
        raise UserError(f"{source} is a folder, so OUT must be one too; {target} is a file.")
    if source.resolve() == target.resolve():
        raise UserError("IN and OUT are the same folder; the originals would be lost. Name another OUT.")
    pictures = sorted(path for path in source.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    pictures = [path for path in pictures if target.resolve() not in path.resolve().parents]
    if not pictures:
        raise UserError(f"expected pictures ({', '.join(ENDINGS)}) in {source}, found none.")
    destinations = {path: target / path.relative_to(source) for path in pictures}
    missing = [path for path in pictures if not destinations[path].is_file()]
    problems = []
    for path in track(missing, "smooth"):
        try:
            smooth_file(path, destinations[path], smoother)
        except UserError as error:
            problems.append(str(error))
    say(
        f"{len(missing) - len(problems)} smoothed, {len(pictures) - len(missing)} there already, {len(problems)} failed"
    )
    for problem in problems:
        say(f"failed: {problem}")
    return 1 if problems else 0


def smooth_file(source: Path, target: Path, smoother: Smoother) -> None:
    """Smooth one picture file into another of the format that the target's ending names.

    Raises: UserError when it cannot be read as a picture, or the target cannot be written or is the source.
    """
    picture, color_format = _read(source)
    if target.exists() and target.samefile(source):
        raise UserError(f"{source} and {target} are the same file; the original would be lost. Name another OUT.")
    smoothed = smoother(_to_planes(picture, source))
    result = _to_picture(smoothed, picture)
    temporary = target.with_name(f".{target.stem}.partial{target.suffix}")
    options: dict[str, Any] = (
        {"quality": JPEG_QUALITY, "subsampling": 0} if target.suffix.lower() in (".jpg", ".jpeg") else {}
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        result.save(temporary, icc_profile=color_format, **options)
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{target} cannot be written: {error}. OUT needs an ending such as .png or .jpg.") from error


def _smoother(level: float, nu: float) -> Smoother:
    method = load_package("defenses.virolbi")
    method.smooth(
        np.zeros((0, 1, 1, 1), np.float32), level=level, nu=nu
    )  # refuses bad settings before any file is read
    return lambda planes: method.smooth(planes, level=level, nu=nu).images


def _read(path: Path) -> tuple[Image.Image, bytes | None]:
    """The picture, upright, and its colour profile; a transparent colour becomes transparent pixels."""
    try:
        with Image.open(path) as file:
            profile = None if file.mode in _UNLIKE_SCREENS else file.info.get("icc_profile")
            picture = ImageOps.exif_transpose(file)
            picture.load()
            if "transparency" in picture.info and picture.mode in _WITH_ALPHA:
                picture = picture.convert(_WITH_ALPHA[picture.mode])
            return picture, profile
    except UnidentifiedImageError as error:
        raise UserError(f"expected a picture, found another format at {path}.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"the picture {path} cannot be read: {error}.") from error


def _to_planes(picture: Image.Image, path: Path) -> np.ndarray:
    """[1,C,H,W] float32 in [0,1]; C is 1 for gray pictures and 3 for all others, transparency aside."""
    if picture.mode == "F" or picture.mode.startswith("I"):
        full = 1 if picture.mode == "F" else 65535
        planes = np.asarray(picture, np.float32)[None, None] / full
        if not ((planes >= 0) & (planes <= 1)).all():  # NaN is neither
            raise UserError(
                f"expected values in [0,{full}] in the picture {path} of mode {picture.mode}, found others."
            )
        return planes
    gray = picture.mode in ("1", "L", "LA")
    values = np.asarray(picture.convert("L" if gray else "RGB"), np.float32) / 255
    return values[None, None] if gray else values.transpose(2, 0, 1)[None]


def _to_picture(planes: np.ndarray, original: Image.Image) -> Image.Image:
    """A picture of the original's kind from [1,C,H,W]; transparency is the original's."""
    if original.mode == "F":
        return Image.fromarray(planes[0, 0])
    if original.mode.startswith("I"):
        return Image.fromarray(np.round(planes[0, 0] * 65535).astype(np.uint16))
    values = np.round(planes[0] * 255).astype(np.uint8)
    picture = Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))
    if original.mode in ("LA", "RGBA", "PA"):
        picture.putalpha(original.getchannel("A"))
    return picture
