"""Non-local means on the test image: each pixel is averaged with those whose surroundings are similar."""

from __future__ import annotations

import dataclasses
import functools

import torch

from harness.contracts.defense import Defense, Preprocessor, bpda_identity
from harness.errors import UserError
from harness.registry import defenses, preprocessors

from ._per_image import each_picture


@preprocessors.register("nlm")
class NonLocalMeans(Preprocessor):
    """Non-local means (Buades, Coll & Morel 2005; as a defense Xu, Evans & Qi 2018) by scikit-image's fast algorithm.

    h: patches that differ by much more than h hardly count; a larger one removes more
    patch_size: width in pixels of the patches that are compared
    patch_distance: the largest distance in pixels to a patch
    """

    surrogates = ("bpda",)

    def __init__(self, *, h: float = 0.1, patch_size: int = 5, patch_distance: int = 6) -> None:
        super().__init__()
        if not 0 < h < float("inf"):
            raise UserError(f"nlm: h must be above 0, such as 0.1, got {h:g}.")
        for name, width in (("patch_size", patch_size), ("patch_distance", patch_distance)):
            if width < 1:
                raise UserError(f"nlm: {name} must be 1 pixel or more, got {width}.")
        self.h, self.patch_size, self.patch_distance = h, patch_size, patch_distance

    def extra_repr(self) -> str:
        """The parameters, as they would be written in a call."""
        return f"h={self.h}, patch_size={self.patch_size}, patch_distance={self.patch_distance}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The denoised images [B,C,H,W]; the channels of a pixel share their weights."""
        from skimage.restoration import denoise_nl_means

        denoise = functools.partial(
            denoise_nl_means,
            patch_size=self.patch_size,
            patch_distance=self.patch_distance,
            h=self.h,
            fast_mode=True,
            channel_axis=-1,
        )
        return bpda_identity(images, each_picture(images, denoise))


@defenses.register("nlm")
@dataclasses.dataclass(kw_only=True)
class NonLocalMeansDefense(Defense):
    """Plain training; test images are denoised by non-local means.

    h, patch_size, patch_distance: as of the preprocessor.
    """

    h: float = 0.1
    patch_size: int = 5
    patch_distance: int = 6

    def preprocess(self, default: str) -> str:
        """Non-local means instead of the run's ViRoLBI."""
        parameters = f"h={self.h!r},patch_size={self.patch_size},patch_distance={self.patch_distance}"
        return preprocessors.canonical(f"nlm:{parameters}")
