"""ViRoLBI in front of a classifier."""

from __future__ import annotations

import copy
from collections import Counter

import torch

from harness.contracts.defense import Preprocessor, bpda_identity
from harness.errors import unknown_name
from harness.registry import preprocessors

from .gradient.frozen import attach_gradient
from .gradient.unrolled import STEPS, attach_unrolled
from .method.settings import Scheme, checked_level, checked_scheme, positive, whole_number
from .smoothing import smooth


@preprocessors.register("virolbi")
class ViRoLBI(Preprocessor):
    """Inverse scale space smoothing to a sparsity level (ViRoLBI).

    Ways through: `bpda` holds the partition frozen, `identity` takes the smoothing for no change at all, `unrolled`
    differentiates the last iterations.

    nu: larger smooths by scale rather than contrast · level: 0–1, larger keeps more · kappa, scheme: see `smooth` ·
    unroll: how many iterations `unrolled` differentiates, 0 for all; larger follows an influence further back
    `last_outcomes` counts in the last batch: images per outcome, and `iterations` in all.
    """

    gradient = "bpda"
    gradients = ("bpda", "identity", "unrolled")
    costly = ("unrolled",)

    def __init__(
        self,
        *,
        nu: float = 1.0,
        level: float = 0.6,
        kappa: float = 5.0,
        scheme: Scheme = "paper",
        unroll: int = STEPS,
    ) -> None:
        super().__init__()
        self.nu, self.level, self.kappa = positive("nu", nu), checked_level(level), positive("kappa", kappa)
        self.scheme, self.unroll = checked_scheme(scheme), whole_number("unroll", unroll, least=0)
        self.last_outcomes: dict[str, int] = {}
        self._way = self.gradients[0]

    def extra_repr(self) -> str:
        """The parameters, for `repr`."""
        numbers = f"nu={self.nu:g}, level={self.level:g}, kappa={self.kappa:g}"
        return f"{numbers}, scheme={self.scheme}, unroll={self.unroll}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The smoothed images [B,C,H,W]."""
        smoothed = smooth(images, nu=self.nu, level=self.level, kappa=self.kappa, scheme=self.scheme)
        self.last_outcomes = {**Counter(smoothed.outcome.tolist()), "iterations": int(smoothed.iterations.sum())}
        if self._way == "identity":
            return bpda_identity(images, smoothed.images)
        if self._way == "unrolled":
            options = {"level": self.level, "nu": self.nu, "kappa": self.kappa}
            return attach_unrolled(images, smoothed, **options, steps=self.unroll)
        return attach_gradient(images, smoothed)

    def through(self, gradient: str) -> ViRoLBI:
        """The same smoothing with the derivative of that name."""
        if gradient not in self.gradients:
            raise unknown_name("gradient of virolbi", gradient, self.gradients)
        other = copy.copy(self)
        other._way = gradient
        return other
