"""Training and testing on images smoothed to one level."""

from __future__ import annotations

import dataclasses

import numpy as np

from harness.cache import ArrayCache
from harness.contracts.defense import Defense
from harness.registry import defenses
from harness.types import Split

from .virolbi.training import check_parameters, preprocessor_label, smoothed_images


@defenses.register("virolbi_fixed")
@dataclasses.dataclass(kw_only=True)
class ViRoLBIFixed(Defense):
    """Train on images smoothed by ViRoLBI to one level (the paper's fixed procedure).

    nu: larger smooths by scale rather than by contrast.
    level: above 0 and up to 1; larger keeps more detail.
    kappa, scheme: as for `smooth`.
    """

    nu: float = 1.0
    level: float = 0.6
    kappa: float = 5.0
    scheme: str = "paper"

    def __post_init__(self) -> None:
        check_parameters(nu=self.nu, level=self.level, kappa=self.kappa, scheme=self.scheme)

    def training_images(self, split: Split, *, epoch: int, epochs: int, cache: ArrayCache) -> np.ndarray:
        """The smoothed split, the same in every epoch."""
        return smoothed_images(split, [self.level], nu=self.nu, kappa=self.kappa, scheme=self.scheme, cache=cache)[0]

    def preprocess(self, default: str) -> str:
        """ViRoLBI with the parameters of the training."""
        return preprocessor_label(nu=self.nu, level=self.level, kappa=self.kappa, scheme=self.scheme)
