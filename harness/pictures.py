"""Smoothing picture files: one or a folder, same size and format, written one by one in one step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from harness.errors import UserError
from harness.packages import load_package
from harness.progress import say, track

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
JPEG_QUALITY = 95
LEDGER = ".smooth.jsonl"
_WITH_ALPHA = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}
_UNLIKE_SCREENS = ("CMYK", "LAB")
"""Modes whose colour profile would be wrong for the RGB picture that is written."""
_REACHED, _THERE = "reached", "there"
_SHORT = {"unreachable": "left as it was", "max_iterations": "smoothed as far as it came"}


class Smoothing(NamedTuple):
    """Smoothed planes [1,C,H,W] and how that ended: `reached`, `unreachable` or `max_iterations`."""

    planes: np.ndarray
    outcome: str


Smoother = Callable[[np.ndarray], Smoothing]


def smooth_pictures(source: Path, target: Path, *, level: float, nu: float) -> int:
    """Smooth `source` into `target`: a picture into a file or folder, a folder's pictures into a folder.

    A picture that does not reach the level is named. What a folder `target` holds already is left alone: if it was
    made with these settings it is what was asked for, so an interrupted call can be repeated; if it was made with
    others it is made anew; if it is somebody else's, it is named. Returns the exit code: 1 when pictures of a folder
    could not be read or written, which are named.
    Raises: UserError when there is nothing to smooth, or the one picture asked for cannot be.
    """
    smoother = _smoother(level, nu)
    if source.is_dir():
        return _smooth_folder(source, target, smoother, level=level, nu=nu)
    if not source.is_file():
        raise UserError(f"expected a picture or a folder of pictures, found nothing at {source}.")
    destination = target / source.name if target.is_dir() else target
    if target.is_dir() and destination.exists():
        raise UserError(f"{destination} is there already. Give that file itself as OUT to replace it.")
    _say_short(source, smooth_file(source, destination, smoother), level)
    say(f"wrote {destination}")
    return 0


def _smooth_folder(source: Path, target: Path, smoother: Smoother, *, level: float, nu: float) -> int:
    if target.exists() and not target.is_dir():
        raise UserError(f"{source} is a folder, so OUT must be one too; {target} is a file.")
    if source.resolve() == target.resolve():
        raise UserError("IN and OUT are the same folder; the originals would be lost. Name another OUT.")
    names = _pictures_in(source, target)
    ledger = Ledger(target, {"level": level, "nu": nu, "version": load_package("defenses.virolbi").ViRoLBI.version})
    outcomes: dict[Path, str] = {}
    problems = []
    for name in track(names, "smooth"):
        try:
            outcomes[name] = _smooth_if_due(source / name, target / name, smoother, ledger)
        except UserError as error:
            problems.append(str(error))
    for name, outcome in outcomes.items():
        _say_short(name, outcome, level)
    for problem in problems:
        say(f"failed: {problem}")
    counts = Counter(outcomes.values())
    smoothed, there = counts.pop(_REACHED, 0), counts.pop(_THERE, 0)
    say(f"{smoothed} smoothed, {counts.total()} short of the level, {there} there already, {len(problems)} failed")
    return 1 if problems else 0


def _pictures_in(source: Path, target: Path) -> list[Path]:
    """The pictures in a folder, relative to it, without those in `target` where that lies inside."""
    pictures = sorted(path for path in source.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    pictures = [path for path in pictures if target.resolve() not in path.resolve().parents]
    if not pictures:
        raise UserError(f"expected pictures ({', '.join(ENDINGS)}) in {source}, found none.")
    return [path.relative_to(source) for path in pictures]


def _smooth_if_due(source: Path, target: Path, smoother: Smoother, ledger: Ledger) -> str:
    """The outcome of smoothing, or `_THERE` where that has been done with these settings."""
    if target.exists():
        if ledger.is_current(source, target):
            return _THERE
        if not ledger.is_ours(target):
            raise UserError(f"{target} is there and not what this command made. Move it away, or name another OUT.")
    return smooth_file(source, target, smoother, ledger)


def _say_short(picture: Path, outcome: str, level: float) -> None:
    if outcome in _SHORT:
        say(f"{picture}: {outcome} at level {level:g}, {_SHORT[outcome]}")


class Ledger:
    """What this command made in a folder, by content: from which picture, with which settings; one JSON line each.

    Content tells more than names and times do: a file that somebody put in the place of ours is not ours.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Raises: UserError when the folder's ledger cannot be read."""
        self.file = folder / LEDGER
        self.settings = settings
        self._made: dict[str, list[dict[str, Any]]] = {}
        for line in _json_lines(self.file):
            self._made.setdefault(str(line.get("made")), []).append(line)

    def is_ours(self, target: Path) -> bool:
        """Whether this command made the file, with whatever settings."""
        return _digest(target) in self._made

    def is_current(self, source: Path, target: Path) -> bool:
        """Whether this command made the file from `source` as it is, with the present settings."""
        wanted = {"from": _digest(source), **self.settings}
        return any(wanted.items() <= line.items() for line in self._made.get(_digest(target), []))

    def note(self, source: Path, made: Path, outcome: str) -> None:
        """Add what is about to be put in its place; noted first, so that it is known after a kill in between."""
        about = {"picture": source.name, "from": _digest(source), "made": _digest(made), **self.settings}
        with self.file.open("a", encoding="utf-8") as stream:
            # The line end comes first, so that a line which a kill cut short spoils no other.
            stream.write("\n" + json.dumps({**about, "outcome": outcome}))


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}. Name another OUT.") from error
    for line in lines:
        with contextlib.suppress(ValueError):  # empty, or cut short
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error


def smooth_file(source: Path, target: Path, smoother: Smoother, ledger: Ledger | None = None) -> str:
    """Smooth one picture file into another of the format that the target's ending names; returns the outcome.

    Raises: UserError when it cannot be read as a picture, or the target cannot be written or is the source.
    """
    picture, color_format = _read(source)
    if target.exists() and target.samefile(source):
        raise UserError(f"{source} and {target} are the same file; the original would be lost. Name another OUT.")
    planes, outcome = smoother(_to_planes(picture, source))
    result = _to_picture(planes, picture)
    temporary = target.with_name(f".{target.stem}.partial{target.suffix}")
    options: dict[str, Any] = (
        {"quality": JPEG_QUALITY, "subsampling": 0} if target.suffix.lower() in (".jpg", ".jpeg") else {}
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        result.save(temporary, icc_profile=color_format, **options)
        if ledger is not None:
            ledger.note(source, temporary, outcome)
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        raise UserError(f"{target} cannot be written: {error}. OUT needs an ending such as .png or .jpg.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return outcome


def _smoother(level: float, nu: float) -> Smoother:
    method = load_package("defenses.virolbi")

    def smoother(planes: np.ndarray) -> Smoothing:
        smoothed = method.smooth(planes, level=level, nu=nu)
        return Smoothing(smoothed.images, str(smoothed.outcome[0]))

    method.smooth(np.zeros((0, 1, 1, 1), np.float32), level=level, nu=nu)  # refuses bad settings before reading files
    return smoother


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
