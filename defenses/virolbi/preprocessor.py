"""ViRoLBI in front of a classifier."""

from __future__ import annotations

from collections import Counter

import torch

from harness.registry import preprocessors

from ..base import Preprocessor
from .gradient import attach_gradient
from .settings import Scheme, checked_level, checked_scheme, positive
from .smoothing import smooth


@preprocessors.register("virolbi")
class ViRoLBI(Preprocessor):
    """Inverse scale space smoothing to a sparsity level (ViRoLBI); BPDA through the frozen partition.

    nu: larger smooths by scale rather than contrast · level: 0–1, larger keeps more · kappa, scheme: see `smooth`
    `last_outcomes` counts in the last batch: images per outcome, and `iterations` in all.
    """

    gradient = "bpda"

    def __init__(self, *, nu: float = 1.0, level: float = 0.6, kappa: float = 5.0, scheme: Scheme = "paper") -> None:
        super().__init__()
        self.nu, self.level, self.kappa = positive("nu", nu), checked_level(level), positive("kappa", kappa)
        self.scheme = checked_scheme(scheme)
        self.last_outcomes: dict[str, int] = {}

    def extra_repr(self) -> str:
        """The parameters, for `repr`."""
        return f"nu={self.nu:g}, level={self.level:g}, kappa={self.kappa:g}, scheme={self.scheme}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The smoothed images [B,C,H,W]."""
        smoothed = smooth(images, nu=self.nu, level=self.level, kappa=self.kappa, scheme=self.scheme)
        self.last_outcomes = {**Counter(smoothed.outcome.tolist()), "iterations": int(smoothed.iterations.sum())}
        return attach_gradient(images, smoothed)
