"""Fewer grey levels in the test image: rounding removes most perturbations smaller than half their distance."""

from __future__ import annotations

import dataclasses

import torch

from harness.contracts.defense import Defense, Preprocessor, bpda_identity
from harness.errors import UserError
from harness.registry import defenses, preprocessors


@preprocessors.register("bit_depth")
class BitDepth(Preprocessor):
    """Every value rounded to the nearest of 2^bits levels from 0 to 1 (Xu, Evans & Qi 2018).

    bits: 1–8; fewer remove more
    """

    surrogates = ("bpda",)

    def __init__(self, *, bits: int = 5) -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise UserError(f"bit_depth: bits must be 1–8, got {bits}.")
        self.bits = bits

    def extra_repr(self) -> str:
        """The parameters, as they would be written in a call."""
        return f"bits={self.bits}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The rounded images [B,C,H,W]."""
        highest = 2**self.bits - 1
        return bpda_identity(images, (images * highest).round() / highest)


@defenses.register("bit_depth")
@dataclasses.dataclass(kw_only=True)
class BitDepthDefense(Defense):
    """Plain training; test images have fewer grey levels.

    bits: as of the preprocessor.
    """

    bits: int = 5

    def preprocess(self, default: str) -> str:
        """Fewer levels instead of the run's ViRoLBI."""
        return preprocessors.canonical(f"bit_depth:bits={self.bits}")
