"""What the tests of the array cache share: rows to cache that note who asks for them, and where they end up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.cache import ArrayCache

SHAPE = (10, 3)
KEY = {"data": "abc", "level": 0.6}


class Source:
    """The rows an array consists of, and a log of which were asked for; it can fail before a given row."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.values = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
        self.asked: list[tuple[int, int]] = []
        self.fails_at = fails_at

    def __call__(self, rows: slice) -> np.ndarray:
        if self.fails_at is not None and rows.stop > self.fails_at:
            raise RuntimeError("interrupted")
        self.asked.append((rows.start, rows.stop))
        return self.values[rows]


def fetch(folder: Path, fill: Callable[[slice], np.ndarray], *, block: int = 4, key: dict = KEY) -> np.ndarray:
    return ArrayCache(folder).array("smoothed", key, shape=SHAPE, dtype=np.uint8, fill=fill, block=block)


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.npy")
    return path
