"""Smoothing picture files: one or a folder, same size and format, written one by one in one step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from harness.errors import UserError
from harness.progress import say, track

from ..backends import cpu
from ..preprocessor import ViRoLBI

Item = TypeVar("Item")
Result = TypeVar("Result")

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
JPEG_QUALITY = 95
LEDGER = ".smooth.jsonl"
AHEAD = 4
"""How many pictures a thread may be ahead of the one that is reported next."""
_WITH_ALPHA = {"1": "LA", "L": "LA", "P": "RGBA", "PA": "RGBA", "RGB": "RGBA"}
_KEPT = ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "F")
"""Modes that can hold the colours of a smoothed picture and that files are written in."""
_UNLIKE_SCREENS = ("CMYK", "LAB")
"""Modes whose colour profile would be wrong for the RGB picture that is written."""
_FIRST_IS_ALL = ("MPO",)
"""Formats whose first frame is the picture: cameras put previews and maps of brightness behind that of a JPEG."""
_USUAL = {"kappa": 5.0, "scheme": "paper", "max_iterations": 200_000}
"""Settings that a ledger leaves out where they have these values, which all had before they were options."""
_NO_SETTINGS = ("picture", "from", "made", "outcome")
"""What a ledger's line says beside the settings."""
_REACHED, _THERE, _FAILED = "reached", "there", "failed"
_SHORT = {"unreachable": "left as it was", "max_iterations": "smoothed as far as it came"}


class Smoother(Protocol):
    """What smooths a picture: `defenses.virolbi.InverseScaleSmoothing`."""

    def smooth_picture(self, picture: Image.Image) -> tuple[Image.Image, str]:
        """The smoothed picture, of the same mode, and how that ended: a key of `_SHORT` or `_REACHED`."""

    def options(self) -> dict[str, Any]:
        """The settings, by name."""


def smooth_pictures(source: Path, target: Path, smoother: Smoother, *, overwrite: bool = False) -> int:
    """Smooth `source` into `target`: a picture into a file or folder, a folder's pictures into a folder.

    A single picture's target must not be there yet, unless `overwrite` says so.

    A picture that does not reach the level is named. What a folder `target` holds already is left alone: if it was
    made with these settings it is what was asked for, so an interrupted call can be repeated; if it was made with
    others it is made anew; if it is somebody else's, it is named. Of a folder, as many pictures are worked on at a
    time as PyTorch uses threads. Returns the exit code: 1 when pictures of a folder could not be read or written,
    which are named.

    Raises: UserError when there is nothing to smooth, or the one picture asked for cannot be.
    """
    if source.is_dir():
        return _smooth_folder(source, target, smoother)
    if not source.is_file():
        raise UserError(f"expected a picture or a folder of pictures, found nothing at {source}.")
    destination = target / source.name if target.is_dir() else target
    if destination.exists() and not overwrite:
        raise UserError(f"{destination} is there already. Name another OUT, or add --overwrite to replace it.")
    _say_short(source, smooth_file(source, destination, smoother), smoother)
    say(f"wrote {destination}")
    return 0


def _smooth_folder(source: Path, target: Path, smoother: Smoother) -> int:
    if target.exists() and not target.is_dir():
        raise UserError(f"{source} is a folder, so OUT must be one too; {target} is a file.")
    if source.resolve() == target.resolve():
        raise UserError("IN and OUT are the same folder; the originals would be lost. Name another OUT.")
    total = sum(1 for _ in _pictures_in(source, target))
    if not total:
        raise UserError(f"expected pictures ({', '.join(ENDINGS)}) in {source}, found none.")
    ledger = Ledger(target, _settings(smoother))
    counts: Counter[str] = Counter()

    def work(name: Path) -> str | UserError:
        try:
            return _smooth_if_due(source / name, target / name, smoother, ledger)
        except UserError as error:
            return error

    names = (path.relative_to(source) for path in _pictures_in(source, target))
    with contextlib.closing(_in_order(work, names, torch.get_num_threads())) as results:
        for name, outcome in track(results, "smooth", total=total):
            if isinstance(outcome, UserError):
                say(f"failed: {outcome}")
                outcome = _FAILED
            _say_short(name, outcome, smoother)
            counts[outcome] += 1
    smoothed, there, failed = counts[_REACHED], counts[_THERE], counts[_FAILED]
    short = counts.total() - smoothed - there - failed
    say(f"{smoothed} smoothed, {short} short of the level, {there} there already, {failed} failed")
    return 1 if failed else 0


def _in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[tuple[Item, Result], None, None]:
    """Every item with what `work` makes of it, in order, worked on by several threads a few items ahead."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = ((item, pool.submit(work, item)) for item in items)
        ahead = deque(islice(waiting, AHEAD * threads))
        try:
            while ahead:
                item, future = ahead.popleft()
                result = future.result()
                ahead.extend(islice(waiting, 1))
                yield item, result
        except BaseException:  # whoever takes the results has stopped to
            cpu.interrupt()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _pictures_in(folder: Path, target: Path) -> Iterator[Path]:
    """The pictures below a folder in the order of their paths, without those in `target` where that lies inside."""
    if folder.resolve() == target.resolve():
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _pictures_in(path, target)
        elif path.suffix.lower() in ENDINGS and path.is_file():
            yield path


def _smooth_if_due(source: Path, target: Path, smoother: Smoother, ledger: Ledger) -> str:
    """The outcome of smoothing, or `_THERE` where that has been done with these settings."""
    if target.exists():
        if ledger.is_current(source, target):
            return _THERE
        if not ledger.is_ours(target):
            raise UserError(f"{target} is there and not what this command made. Move it away, or name another OUT.")
    return smooth_file(source, target, smoother, ledger)


def _say_short(picture: Path, outcome: str, smoother: Smoother) -> None:
    if outcome in _SHORT:
        say(f"{picture}: {outcome} at level {smoother.options()['level']:g}, {_SHORT[outcome]}")


def _settings(smoother: Smoother) -> dict[str, Any]:
    """What a ledger says of the settings."""
    version = ViRoLBI.version
    chosen = {name: value for name, value in smoother.options().items() if value != _USUAL.get(name)}
    return {**chosen, "version": version}


class Ledger:
    """What this command made in a folder, by content: from which picture, with which settings; one JSON line each.

    Content tells more than names and times do: a file that somebody put in the place of ours is not ours. Lines stand
    in the order in which pictures were finished; several threads may add them.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Raises: UserError when the folder's ledger cannot be read."""
        self.file = folder / LEDGER
        self.settings = settings
        self._adding = threading.Lock()
        self._ours: set[str] = set()
        self._current: set[str] = set()
        for line in _json_lines(self.file):
            made = str(line.get("made"))
            self._ours.add(made)
            if {key: line[key] for key in line if key not in _NO_SETTINGS} == settings:
                self._current.add(made + str(line.get("from")))

    def is_ours(self, target: Path) -> bool:
        """Whether this command made the file, with whatever settings."""
        return _digest(target) in self._ours

    def is_current(self, source: Path, target: Path) -> bool:
        """Whether this command made the file from `source` as it is, with the present settings."""
        return _digest(target) + _digest(source) in self._current

    def note(self, source: Path, made: Path, outcome: str) -> None:
        """Add what is about to be put in its place; noted first, so that it is known after a kill in between."""
        about = {"picture": source.name, "from": _digest(source), "made": _digest(made), **self.settings}
        # The line end comes first, so that a line which a kill cut short spoils no other.
        line = "\n" + json.dumps({**about, "outcome": outcome})
        with self._adding, self.file.open("a", encoding="utf-8") as stream:
            stream.write(line)


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.exists():
        return
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # empty, or cut short
                    value = json.loads(line)
                    if isinstance(value, dict):
                        yield value
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}. Name another OUT.") from error


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
    _check_ending(target)
    if target.exists() and target.samefile(source):
        raise UserError(f"{source} and {target} are the same file; the original would be lost. Name another OUT.")
    try:
        result, outcome = smoother.smooth_picture(picture)
    except UserError as error:
        raise UserError(f"the picture {source} cannot be smoothed: {error}") from error
    temporary = target.with_name(f".{target.stem}.partial{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _save(result, temporary, color_format)
        if ledger is not None:
            ledger.note(source, temporary, outcome)
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without the name of the temporary file
        raise UserError(f"{target} cannot be written: {reason}. OUT needs an ending such as .png or .jpg.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return outcome


def _check_ending(target: Path) -> None:
    """Raises: UserError for an ending that names no format in which pictures can be written."""
    ending = target.suffix.lower()
    if Image.registered_extensions().get(ending) not in Image.SAVE:
        reason = f"{ending} is the ending of no picture that can be written" if ending else "it has no ending"
        raise UserError(f"{target} cannot be written: {reason}. OUT needs an ending such as .png or .jpg.")


def _read(path: Path) -> tuple[Image.Image, bytes | None]:
    """The picture, upright and in a mode that can hold other colours, and its colour profile.

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
        raise UserError(f"expected a picture, found another format at {path}.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"the picture {path} cannot be read: {error}.") from error


def _check_single(file: Image.Image, path: Path) -> None:
    """Raises: UserError for several pages or frames: all but the first would be lost."""
    frames = 1 if file.format in _FIRST_IS_ALL else getattr(file, "n_frames", 1)
    if frames > 1:
        raise UserError(f"{path} holds {frames} frames; smooth knows single pictures. Save each frame as a file.")


def _widened(picture: Image.Image) -> Image.Image:
    transparent = "transparency" in picture.info or picture.mode == "PA"
    if transparent and picture.mode in _WITH_ALPHA:
        return picture.convert(_WITH_ALPHA[picture.mode])
    if picture.mode in _KEPT:
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _save(picture: Image.Image, path: Path, color_format: bytes | None) -> None:
    if picture.mode in ("I", "I;16B"):  # most formats hold 16 bits at most, in this order
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16))
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    options: dict[str, Any] = {"quality": JPEG_QUALITY, "subsampling": 0} if jpeg else {}
    picture.save(path, icc_profile=color_format, **options)
