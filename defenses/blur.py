"""Gaussian blur in training and at test time: smoothing that does not keep edges."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from harness.contracts.defense import Defense, Preprocessor
from harness.errors import UserError
from harness.registry import defenses, preprocessors
from harness.types import SMALL_IMAGE, Batch, TrainingState


@preprocessors.register("blur")
class GaussianBlur(Preprocessor):
    """Gaussian blur with one fixed σ and reflecting borders.

    sigma: in pixels; larger removes more detail, up to a plain average over the kernel
    kernel: odd width in pixels; None takes 3 for images of at most 64 pixels a side and 7 for larger ones

    >>> GaussianBlur(sigma=2.0)(torch.ones(1, 3, 32, 32)).shape
    torch.Size([1, 3, 32, 32])
    """

    def __init__(self, *, sigma: float = 2.0, kernel: int | None = None) -> None:
        super().__init__()
        if not sigma > 0:
            raise UserError(f"blur: sigma must be above 0 pixels, got {sigma}.")
        if kernel is not None and (kernel < 1 or kernel % 2 == 0):
            raise UserError(f"blur: kernel must be an odd width such as 3 or 7, got {kernel}.")
        self.sigma = sigma
        self.kernel = kernel

    def extra_repr(self) -> str:
        """The parameters, as they would be written in a call."""
        return f"sigma={self.sigma}, kernel={self.kernel}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The blurred images [B,C,H,W], computed in their own precision even under autocast.

        Raises: UserError when the kernel is too wide for the images to be reflected.
        """
        from torchvision.transforms.functional import gaussian_blur

        kernel = self._width(images)
        with torch.autocast(images.device.type, enabled=False):
            return gaussian_blur(images, [kernel, kernel], [self.sigma, self.sigma])

    def _width(self, images: torch.Tensor) -> int:
        height, width = images.shape[-2:]
        kernel = self.kernel or (3 if max(height, width) <= SMALL_IMAGE else 7)
        if kernel // 2 >= min(height, width):
            raise UserError(f"blur: a kernel of {kernel} pixels is too wide for images of {height}×{width}.")
        return kernel


@defenses.register("blur")
class Blur(Defense):
    """Trained on blurred images; test images are preprocessed by the same blur.

    The blur comes after augmentation, last before the network, as it does at test time.
    """

    def __init__(self, *, sigma: float = 2.0, kernel: int | None = None) -> None:
        self.sigma = sigma
        self.kernel = kernel
        self._blur = GaussianBlur(sigma=sigma, kernel=kernel)

    def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
        """Cross-entropy on the blurred batch."""
        return functional.cross_entropy(model(self._blur(batch.images)), batch.labels)

    def preprocess(self, default: str) -> str:
        """The blur of the training instead of the run's ViRoLBI."""
        kernel = "" if self.kernel is None else f",kernel={self.kernel}"
        return preprocessors.canonical(f"blur:sigma={self.sigma!r}{kernel}")
