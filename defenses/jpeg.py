"""JPEG compression of the test image, which removes fine detail, and with it part of a small perturbation."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import torch
from PIL import Image

from harness.contracts.defense import Defense, Preprocessor, bpda_identity
from harness.errors import UserError
from harness.registry import defenses, preprocessors

from ._per_image import each_picture


@preprocessors.register("jpeg")
class JPEG(Preprocessor):
    """JPEG compression by Pillow, colours at half resolution (Dziugaite et al. 2016; quality of Guo et al. 2018).

    quality: 1–100; a smaller one removes more
    """

    surrogates = ("bpda",)

    def __init__(self, *, quality: int = 75) -> None:
        super().__init__()
        if not 1 <= quality <= 100:
            raise UserError(f"jpeg: quality must be 1–100, got {quality}.")
        self.quality = quality

    def extra_repr(self) -> str:
        """The parameters, as they would be written in a call."""
        return f"quality={self.quality}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The images [B,C,H,W] decoded from JPEG files. Raises: UserError for other than 1 or 3 channels."""
        if images.shape[1] not in (1, 3):
            raise UserError(f"jpeg: images must have 1 or 3 channels, got {images.shape[1]}.")
        return bpda_identity(images, each_picture(images, self._compressed))

    def _compressed(self, picture: np.ndarray) -> np.ndarray:
        levels = np.rint(picture * 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(file, "JPEG", quality=self.quality)
        return np.asarray(Image.open(file), np.float32).reshape(picture.shape) / 255


@defenses.register("jpeg")
@dataclasses.dataclass(kw_only=True)
class JPEGDefense(Defense):
    """Plain training; test images are JPEG-compressed.

    quality: as of the preprocessor.
    """

    quality: int = 75

    def preprocess(self, default: str) -> str:
        """JPEG instead of the run's ViRoLBI."""
        return preprocessors.canonical(f"jpeg:quality={self.quality}")
