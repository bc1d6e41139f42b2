"""A folder of pictures, and a smoother that notes what it is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from defenses.virolbi import InverseScaleSmoothing
from defenses.virolbi.apps.folder_log import LOG
from defenses.virolbi.apps.pictures import smooth_pictures

SIZE = (7, 5)


class Recorder:
    """A smoother that notes what it is given, and divides the light by `divisor`."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.divisor = 2
        self.outcome = "reached"
        self.seen: list[Image.Image] = []

    def smooth_picture(self, picture: Image.Image) -> tuple[Image.Image, str]:
        self.seen.append(picture)
        return picture.point(lambda value: value / self.divisor), self.outcome

    def options(self) -> dict[str, Any]:
        return InverseScaleSmoothing(**self.settings).options()


def picture(mode: str) -> Image.Image:
    """A picture of random content, gray ("L") or "RGB"."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
    return Image.fromarray(pixels if mode == "RGB" else pixels[..., 0])


def smooth(smoother: Recorder, source: Path, target: Path, **settings: Any) -> int:
    smoother.settings = settings
    return smooth_pictures(source, target, smoother)


def log_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines() if line]


def files(folder: Path) -> list[str]:
    """What lies in a folder, but for the note of what was made there."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(folder)) for path in paths if path.name != LOG)


WHOLE = ["a.png", "deep/b.PNG", "deep/er/c.jpg"]
