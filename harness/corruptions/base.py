"""The class of corruptions: functions of one image, with published constants for severities 1 to 5."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.errors import UserError
from harness.types import SEVERITIES, check_severity

Pixels: TypeAlias = npt.NDArray[np.floating]
"""One image [H,W,C], float64 in [0,1]. What a corruption returns may leave [0,1]: it is clipped afterwards."""
ConstantsSet = Literal["cifar", "imagenet"]
Constants: TypeAlias = tuple[float, ...]


class Corruption:
    """A function `(image, rng, *constants) -> image` and its constants, one tuple per severity and set.

    elementwise: whether it treats every channel element alike, so that a gray image [H,W,1] stays as it is. Other
    corruptions get three equal channels, and the mean of the result is kept.
    version: raised when a change of code changes its images; part of the identity of what is scored on them
    """

    def __init__(
        self,
        function: Callable[..., Pixels],
        *,
        cifar: tuple[Constants, ...],
        imagenet: tuple[Constants, ...],
        elementwise: bool = False,
        version: int = 1,
    ) -> None:
        self.function = function
        self.cifar = cifar
        self.imagenet = imagenet
        self.elementwise = elementwise
        self.version = version
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<corruption {self.function.__name__}>"

    def __call__(self, image: Pixels, rng: np.random.Generator, *constants: float) -> Pixels:
        """The corrupted image [H,W,C], before clipping; `image` is not changed."""
        return self.function(image, rng, *constants)

    def constants(self, constants_set: ConstantsSet, severity: int) -> Constants:
        """The arguments after `rng` at this severity. Raises: UserError when the severity is not 1–5."""
        table = self.cifar if constants_set == "cifar" else self.imagenet
        return table[check_severity(severity) - 1]


def severities(
    *,
    cifar: tuple[float | Constants, ...],
    imagenet: tuple[float | Constants, ...] | None = None,
    elementwise: bool = False,
    version: int = 1,
) -> Callable[[Callable[..., Pixels]], Corruption]:
    """Decorator: the constants of severities 1–5, which corrupt more and more.

    A bare number stands for a tuple of one.

    cifar: for images of up to 64 pixels a side
    imagenet: for larger ones; left out, the same as `cifar`
    elementwise, version: see `Corruption`

        @corruptions.register("gaussian_noise")
        @severities(cifar=(0.04, 0.06, 0.08, 0.09, 0.10), imagenet=(0.08, 0.12, 0.18, 0.26, 0.38))
        def gaussian_noise(image, rng, deviation): ...
    """
    small = _table(cifar)
    large = small if imagenet is None else _table(imagenet)
    return lambda function: Corruption(function, cifar=small, imagenet=large, elementwise=elementwise, version=version)


def _table(values: tuple[float | Constants, ...]) -> tuple[Constants, ...]:
    if len(values) != len(SEVERITIES):
        raise UserError(f"a corruption needs constants for severities 1–5, got {len(values)} of them.")
    return tuple(value if isinstance(value, tuple) else (value,) for value in values)
