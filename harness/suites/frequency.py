"""Low and high spatial frequencies apart (Wang, Wu, Huang & Xing, CVPR 2020)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn

from harness.errors import UserError
from harness.registry import suites
from harness.suites.base import Suite, SuiteContext
from harness.suites.clean import clean_images
from harness.types import Condition

Part = Literal["low", "high"]
HEADLINE_RADIUS = 6.0
"""The radius of the paper's Fig. 2, which tables show first."""


@suites.register("frequency")
class Frequency(Suite):
    """The low-frequency part of the test images, and the high-frequency rest, for several radii.

    radii: in periods per image; a larger one moves more of the image from the high part to the low one.
    clip: whether what leaves [0,1] is cut off; by default the model sees it.
    """

    def __init__(self, *, radii: tuple[float, ...] = (4.0, 6.0, 8.0, 12.0, 16.0), clip: bool = False) -> None:
        for radius in radii:
            if not radius > 0:
                raise UserError(f"a radius of frequency must be above 0, got {radius:g}.")
        self.radii = radii
        self.clip = clip

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """The low parts of every radius, then the high parts."""
        return [
            Condition(f"{part} r={radius:g}", parameters={"part": part, "radius": radius, "clip": self.clip})
            for part in ("low", "high")
            for radius in dict.fromkeys(self.radii)
        ]

    def perturb(
        self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module | None
    ) -> torch.Tensor:
        """One part of the images of `rows` [B,C,H,W] float32, outside [0,1] too unless clipped."""
        parameters = condition.parameters
        images = frequency_part(clean_images(rows, context), part=parameters["part"], radius=parameters["radius"])
        return images.clamp_(0, 1) if parameters["clip"] else images


def frequency_part(images: torch.Tensor, *, part: Part, radius: float) -> torch.Tensor:
    """The part of images [B,C,H,W] at spatial frequencies below `radius`, or from it on; both sum to the images."""
    low = low_frequency_mask(*images.shape[2:], radius=radius)
    keep = low if part == "low" else ~low
    spectrum = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1))
    return torch.fft.ifft2(torch.fft.ifftshift(spectrum * keep, dim=(-2, -1))).real


def low_frequency_mask(height: int, width: int, *, radius: float) -> torch.Tensor:
    """[H,W] bool: where the shifted spectrum is strictly nearer than `radius` to its zero frequency.

    That lies at (H/2, W/2), rounded down for odd sizes, so that the parts of a real image are real.
    """
    rows, columns = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    return rows[:, None] ** 2 + columns[None, :] ** 2 < radius**2
