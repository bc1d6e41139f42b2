"""ViRoLBI in front of a classifier."""

from __future__ import annotations

import copy
from collections import Counter

import torch

from harness.contracts.defense import Preprocessed, Preprocessor, bpda_identity
from harness.errors import unknown_name
from harness.registry import preprocessors

from .gradient.frozen import attach_gradient
from .gradient.unrolled import STEPS, attach_unrolled
from .method.settings import Scheme, checked_level, checked_scheme, positive, whole_number
from .smoothing import Smoothed, smooth


@preprocessors.register("virolbi")
class ViRoLBI(Preprocessor):
    """Inverse scale space smoothing to a sparsity level (ViRoLBI).

    Surrogate gradients: `bpda` fixes the partition, `identity` ignores the smoothing, `unrolled` differentiates
    the last iterations.

    nu: larger smooths by scale rather than by contrast.
    level: 0 to 1; larger keeps more detail.
    kappa, scheme: as for `smooth`.
    unroll: iterations that `unrolled` differentiates, 0 for all; larger follows an influence further back.
    """

    surrogates = ("bpda", "identity", "unrolled")
    costly_surrogates = ("unrolled",)

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
        self._surrogate = self.surrogates[0]

    def extra_repr(self) -> str:
        """The parameters, for `repr`."""
        numbers = f"nu={self.nu:g}, level={self.level:g}, kappa={self.kappa:g}"
        return f"{numbers}, scheme={self.scheme}, unroll={self.unroll}"

    def forward(self, images: torch.Tensor) -> Preprocessed:
        """The smoothed images [B,C,H,W]; how many had each outcome, and `iterations`, their sum over the batch."""
        smoothed = smooth(images, nu=self.nu, level=self.level, kappa=self.kappa, scheme=self.scheme)
        outcomes = {**Counter(smoothed.outcome.tolist()), "iterations": int(smoothed.iterations.sum())}
        return Preprocessed(self._differentiable(images, smoothed), outcomes)

    def with_surrogate(self, name: str) -> ViRoLBI:
        """The same smoothing with the surrogate gradient `name`. Raises: UserError for an unknown one."""
        if name not in self.surrogates:
            raise unknown_name("gradient of virolbi", name, self.surrogates)
        other = copy.copy(self)
        other._surrogate = name
        return other

    def _differentiable(self, images: torch.Tensor, smoothed: Smoothed[torch.Tensor]) -> torch.Tensor:
        """The smoothed images as a function of `images`, with the surrogate gradient asked for."""
        if self._surrogate == "identity":
            return bpda_identity(images, smoothed.images)
        if self._surrogate == "unrolled":
            options = {"level": self.level, "nu": self.nu, "kappa": self.kappa}
            return attach_unrolled(images, smoothed, **options, steps=self.unroll)
        return attach_gradient(images, smoothed)
