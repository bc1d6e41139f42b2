"""Smoothed training images, computed once for a data set and kept on disk; and the level of each epoch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from harness.cache import ArrayCache
from harness.errors import UserError
from harness.registry import preprocessors
from harness.types import Split

from .method.settings import checked_level, checked_scheme, positive, whole_number
from .smoothing import path

_VERSION = 1
"""Raised when a change of code changes the smoothed images."""
_BLOCK_VALUES = 2**24
"""Values smoothed between two writes to disk."""


def smoothed_images(
    split: Split,
    levels: Sequence[float],
    *,
    nu: float,
    kappa: float,
    scheme: str = "paper",
    cache: ArrayCache,
    exact: bool = False,
) -> list[np.ndarray]:
    """The split at each of several ascending levels of one path: memory-mapped arrays [N,C,H,W] of ũ.

    They are uint8, rounded; with `exact` they are float32 in [0,1] and take four times the space.
    """
    count, *shape = split.images.shape
    key = {
        "data": split.digest,
        "indices": hashlib.sha256(np.ascontiguousarray(split.indices).tobytes()).hexdigest(),
        "levels": list(levels),
        "nu": nu,
        "kappa": kappa,
        "version": _VERSION,
        **({} if scheme == "paper" else {"scheme": scheme}),  # not mentioned by older arrays
        **({"exact": True} if exact else {}),
    }

    def fill(rows: slice) -> np.ndarray:
        results = path(np.asarray(split.images[rows]), levels=levels, nu=nu, kappa=kappa, scheme=checked_scheme(scheme))
        smoothed = np.stack([result.images for result in results], axis=1)
        return smoothed if exact else np.rint(smoothed * 255).astype(np.uint8)

    block = max(1, min(1024, _BLOCK_VALUES // (len(levels) * int(np.prod(shape)))))
    whole, dtype = (count, len(levels), *shape), np.float32 if exact else np.uint8
    stages = cache.array("smoothed", key, shape=whole, dtype=dtype, fill=fill, block=block)
    return [stages[:, position] for position in range(len(levels))]


def preprocessor_label(*, nu: float, level: float, kappa: float, scheme: str) -> str:
    """The name of the ViRoLBI preprocessor with these parameters, as tables show it."""
    return preprocessors.canonical(f"virolbi:nu={nu!r},level={level!r},kappa={kappa!r},scheme={scheme}")


def check_parameters(*, nu: float, level: float, kappa: float, scheme: str) -> None:
    """Raises: UserError for parameters that a defense cannot train with."""
    positive("nu", nu)
    positive("kappa", kappa)
    checked_scheme(scheme)
    if checked_level(level) == 0:
        raise UserError("level must be above 0, where every image is black, got 0.")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """`steps` levels from `start` to `end`, evenly spaced, each for an equal share of the epochs.

    With fewer epochs than levels some levels are left out, but never `end`, the last.
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        whole_number("steps", self.steps, least=1)
        if not 0 < checked_level(self.start, "start") <= checked_level(self.end, "end"):
            raise UserError(f"start must be above 0 and at most end, got start={self.start:g}, end={self.end:g}.")

    @property
    def levels(self) -> list[float]:
        """The levels, ascending; a single one is `end`."""
        if self.steps == 1:
            return [self.end]
        return [round(float(level), 10) for level in np.linspace(self.start, self.end, self.steps)]

    def position(self, epoch: int, epochs: int) -> int:
        """The number of an epoch's level among `levels`.

        >>> [Schedule(0.3, 0.8, 6).position(epoch, 3) for epoch in range(3)]
        [1, 3, 5]
        """
        return -(-(epoch + 1) * self.steps // epochs) - 1

    def tag(self, epoch: int, epochs: int) -> str | None:
        """`level=0.3` at the last epoch of that level; the name under which its checkpoint is kept."""
        position = self.position(epoch, epochs)
        last = epoch + 1 == epochs or self.position(epoch + 1, epochs) > position
        return f"level={self.levels[position]:g}" if last else None
