"""Gradient sign attacks in an L∞ ball: one step (FGSM) and many (PGD)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from harness.attacks.base import Attack, Budget, loss_slope, random_start
from harness.errors import UserError
from harness.registry import attacks


@attacks.register("fgsm")
class FGSM(Attack):
    """One step of size ε along the sign of the gradient (Goodfellow et al. 2015)."""

    name = "fgsm"

    def __call__(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        budget: Budget,
        *,
        seed: int,
        indices: np.ndarray,
    ) -> torch.Tensor:
        """One step from the image itself."""
        step = budget.radius * loss_slope(model, images, labels, budget.draws).sign()
        return budget.clip(images + step, images)


@attacks.register("pgd")
class PGD(Attack):
    """Projected gradient descent from a random start, steps of ε/4, the last iterate (Madry et al. 2018)."""

    name = "pgd"

    def __init__(self, *, steps: int = 20, relative_step: float = 0.25) -> None:
        if steps < 1:
            raise UserError(f"pgd: steps must be 1 or more, got {steps}.")
        if not 0 < relative_step < float("inf"):
            raise UserError(f"pgd: relative_step (a share of ε) must be a number above 0, got {relative_step}.")
        self.steps = steps
        self.relative_step = relative_step

    def parameters(self) -> dict[str, Any]:
        """Number and relative size of the steps."""
        return {"steps": self.steps, "relative_step": self.relative_step}

    def __call__(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        budget: Budget,
        *,
        seed: int,
        indices: np.ndarray,
    ) -> torch.Tensor:
        """The last of `steps` iterates."""
        step = self.relative_step * budget.radius
        adversarial = random_start(images, budget, seed=seed, name="pgd", indices=indices)
        for _ in range(self.steps):
            slope = loss_slope(model, adversarial, labels, budget.draws)
            adversarial = budget.clip(adversarial + step * slope.sign(), images)
        return adversarial
