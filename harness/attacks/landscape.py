"""A look at the loss around each image: whether its gradient is there, and points where the loss rises."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from harness.attacks.base import Attack, Budget, loss_slope
from harness.attacks.losses import cross_entropy, margin
from harness.registry import attacks
from harness.seeding import uniform_rows

DIRECTIONS = 5
"""Random directions that the gradient's is compared with."""


@attacks.register("landscape", internal=True)
class Landscape(Attack):
    """One step along the gradient, measured against steps of the same length in random directions.

    The gradient is that of the cross-entropy, which attacks climb unless told otherwise: scaled logits make it vanish
    where the margin's is still there.

    measures: `zero_gradients`, the share of images whose gradient is 0 in every pixel, `zero_margin_gradients` the same
    of the margin's · `zero_components`, the share of pixels and channels in which it is 0 · `gradient_wins`, the share
    of images whose margin shrinks more along the gradient than along any of five random directions. A gradient that
    hides the loss loses to chance.
    """

    name = "landscape"
    only_measures = True

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
        """The points along the gradient."""
        gradient = loss_slope(model, images, lambda logits: cross_entropy(logits, labels), budget.draws).gradient
        of_margin = loss_slope(model, images, lambda logits: margin(logits, labels), budget.draws).gradient
        along = budget.clip(images + budget.step(gradient), images)
        others = [
            uniform_rows(tuple(images.shape[1:]), seed, f"landscape {number}", indices).to(images)
            for number in range(DIRECTIONS)
        ]
        rises = [self._margin(model, budget.clip(images + budget.step(other), images), labels) for other in others]
        wins = self._margin(model, along, labels) > torch.stack(rises).amax(0)
        zero = gradient == 0
        self.measures = {
            "zero_gradients": float(zero.flatten(1).all(1).float().mean()),
            "zero_margin_gradients": float((of_margin == 0).flatten(1).all(1).float().mean()),
            "zero_components": float(zero.float().mean()),
            "gradient_wins": float(wins.float().mean()),
        }
        return along

    @staticmethod
    @torch.no_grad()
    def _margin(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return margin(model(images), labels)
