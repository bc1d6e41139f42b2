"""Total-variation denoising of the test image; ViRoLBI follows total variation's inverse scale space."""

from __future__ import annotations

import dataclasses
import functools

import torch

from harness.contracts.defense import Defense, Preprocessor, bpda_identity
from harness.errors import UserError
from harness.registry import defenses, preprocessors

from ._per_image import each_picture


@preprocessors.register("rof")
class ROF(Preprocessor):
    """Total-variation denoising (Rudin, Osher & Fatemi 1992) by scikit-image, each channel by itself.

    weight: of the isotropic total variation; a larger one removes more
    """

    surrogates = ("bpda",)

    def __init__(self, *, weight: float = 0.1) -> None:
        super().__init__()
        if not 0 < weight < float("inf"):
            raise UserError(f"rof: weight must be above 0, such as 0.1, got {weight:g}.")
        self.weight = weight

    def extra_repr(self) -> str:
        """The parameters, as they would be written in a call."""
        return f"weight={self.weight}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The denoised images [B,C,H,W]."""
        from skimage.restoration import denoise_tv_chambolle

        denoise = functools.partial(denoise_tv_chambolle, weight=self.weight, channel_axis=-1)
        return bpda_identity(images, each_picture(images, denoise))


@defenses.register("rof")
@dataclasses.dataclass(kw_only=True)
class ROFDefense(Defense):
    """Plain training; test images are denoised by total variation.

    weight: as of the preprocessor.
    """

    weight: float = 0.1

    def preprocess(self, default: str) -> str:
        """Total-variation denoising instead of the run's ViRoLBI."""
        return preprocessors.canonical(f"rof:weight={self.weight!r}")
