"""Median filtering of the test image, which removes single outlying pixels and keeps edges."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional

from harness.contracts.defense import Defense, Preprocessor
from harness.errors import UserError
from harness.registry import defenses, preprocessors


@preprocessors.register("median")
class Median(Preprocessor):
    """Median over a square window, channel by channel, reflecting borders (Xu, Evans & Qi 2018).

    The derivative is exact: each result is one of the pixels of its window.

    kernel: odd width in pixels; a larger one removes more
    """

    def __init__(self, *, kernel: int = 3) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f"median: kernel must be an odd width such as 3 or 5, got {kernel}.")
        self.kernel = kernel

    def extra_repr(self) -> str:
        """The parameters, as they would be written in a call."""
        return f"kernel={self.kernel}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The filtered images [B,C,H,W]. Raises: UserError when the window is too wide for the images."""
        count, channels, height, width = images.shape
        reach = self.kernel // 2
        if reach >= min(height, width):
            raise UserError(f"median: a kernel of {self.kernel} pixels is too wide for images of {height}×{width}.")
        padded = functional.pad(images, (reach,) * 4, mode="reflect")
        windows = functional.unfold(padded, self.kernel).view(count, channels, self.kernel**2, height, width)
        # Stable: among equal pixels the same one gets the gradient on every device.
        return windows.sort(dim=2, stable=True).values[:, :, self.kernel**2 // 2]


@defenses.register("median")
@dataclasses.dataclass(kw_only=True)
class MedianDefense(Defense):
    """Plain training; test images are median-filtered.

    kernel: as of the preprocessor.
    """

    kernel: int = 3

    def preprocess(self, default: str) -> str:
        """The median filter instead of the run's ViRoLBI."""
        return preprocessors.canonical(f"median:kernel={self.kernel}")
