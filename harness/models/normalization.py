"""What is subtracted from images and divided by before a network sees them, and who says so."""

from __future__ import annotations

import math
from typing import NamedTuple

from harness.errors import UserError

Values = tuple[float, ...]
NONE = "none"
"""What `--normalization` calls images that a network sees as they are, in [0,1]."""


class Normalization(NamedTuple):
    """The mean and std in front of a network."""

    mean: Values
    """Per channel, of images in [0,1]; where there is no normalisation, they only say how ε is measured."""
    std: Values
    origin: str
    """Who says so: "the data set's"."""
    applied: bool
    """False: the network is given the images as they are."""

    def __str__(self) -> str:
        what = shown(self.mean, self.std) if self.applied else "none, the network is given [0,1]"
        return f"{what}, {self.origin}"


def shown(mean: Values, std: Values) -> str:
    """A mean and std as texts show them: “mean (0.5, 0.5, 0.5), std (0.25, 0.25, 0.25)”."""
    texts = (", ".join(f"{value:.3g}" for value in values) for values in (mean, std))
    return "mean ({}), std ({})".format(*texts)


def as_option(mean: Values, std: Values) -> str:
    """A mean and std as `--normalization` takes them; one number where all channels have the same.

    >>> as_option((0.5, 0.5), (0.25, 0.5))
    '0.5/0.25,0.5'
    """
    parts = (values[:1] if len(set(values)) == 1 else values for values in (mean, std))
    return "/".join(",".join(f"{value:.5g}" for value in values) for values in parts)


def parse_normalization(text: str, channels: int) -> tuple[Values, Values] | None:
    """The mean and std of `--normalization`, one number each or one a channel; None for `none`.

    >>> parse_normalization("0.5/0.25", 3)
    ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    Raises: UserError for anything else, and for numbers that are not of images in [0,1].
    """
    if text.strip().lower() == NONE:
        return None
    parts = [_numbers(part, channels) for part in text.split("/")]
    if len(parts) != 2 or not all(parts):
        raise UserError(
            f"--normalization expects none or MEAN/STD with 1 or {channels} numbers each, such as "
            f"0.485,0.456,0.406/0.229,0.224,0.225, got {text!r}."
        )
    mean, std = parts
    if not all(0 <= value <= 1 for value in mean) or not all(0 < value <= 1 for value in std):
        raise UserError(
            f"--normalization expects the mean (from 0 to 1) and std (above 0, at most 1) of images in [0,1], "
            f"got {text!r}. Divide those of images in 0–255 by 255."
        )
    return mean, std


def _numbers(text: str, channels: int) -> Values:
    """The numbers of a text, one a channel; none where it has others."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        return ()
    if not all(map(math.isfinite, values)):
        return ()
    return values * channels if len(values) == 1 else values if len(values) == channels else ()
