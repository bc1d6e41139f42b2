"""Images of fewer pixels: reduced, then enlarged again in blocks."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from harness.corruptions import constants_set
from harness.errors import UserError
from harness.registry import suites
from harness.suites.base import Suite, SuiteContext
from harness.suites.clean import clean_images
from harness.types import Condition

Filter = Literal["bilinear", "nearest"]
_PAPER_FACTORS = {"cifar": (4, 2), "imagenet": (7, 4)}


@suites.register("low_resolution")
class LowResolution(Suite):
    """Test images reduced to 1/4 and 1/2 (1/7 and 1/4 above 64 pixels), and back to size in blocks.

    factors: how many times smaller; a larger one keeps less detail, none given means the paper's.
    filter: how the image is reduced, "bilinear" (antialiased) or "nearest" (one pixel of each block).
    """

    def __init__(self, *, factors: tuple[int, ...] = (), filter: Filter = "bilinear") -> None:  # noqa: A002
        for factor in factors:
            if factor < 2:
                raise UserError(f"a factor of low_resolution must be 2 or more, got {factor}.")
        self.factors = factors
        self.filter = filter

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """One for each factor."""
        factors = self.factors or _PAPER_FACTORS[constants_set(*context.split.images.shape[2:])]
        return [
            Condition(f"scale=1/{factor}", parameters={"factor": factor, "filter": self.filter})
            for factor in dict.fromkeys(factors)
        ]

    def perturb(
        self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module | None
    ) -> torch.Tensor:
        """The images of `rows` at low resolution, [B,C,H,W] float32 in [0,1], at their own size."""
        return reduce_and_enlarge(clean_images(rows, context), **condition.parameters)


# Named `filter` like the suite's option, which is its name in tables.
def reduce_and_enlarge(images: torch.Tensor, *, factor: int, filter: Filter = "bilinear") -> torch.Tensor:  # noqa: A002
    """Images [B,C,H,W] reduced `factor` times (at least to one pixel), then enlarged by nearest neighbour."""
    size = images.shape[2:]
    small_size = [max(1, round(side / factor)) for side in size]
    if filter == "bilinear":
        small = functional.interpolate(images, small_size, mode="bilinear", antialias=True)
    else:
        small = functional.interpolate(images, small_size, mode="nearest-exact")
    return functional.interpolate(small, size, mode="nearest-exact")
