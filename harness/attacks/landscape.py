"""Measures the loss around each image: whether it has a gradient, and whether the loss rises along it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from harness.attacks.base import Attack, AttackResult, Budget, loss_gradient
from harness.attacks.losses import cross_entropy, margin
from harness.registry import attacks
from harness.seeding import uniform_rows

DIRECTIONS = 5
"""Random directions that the gradient is compared with."""


@attacks.register("landscape", internal=True)
class Landscape(Attack):
    """One step along the gradient, compared with steps of the same length in random directions.

    The gradient is that of the cross-entropy, the usual loss of attacks. Scaled logits make it vanish where the
    margin's does not, so that both are measured.

    zero_gradients: share of images whose gradient is 0 in every pixel and channel
    zero_margin_gradients: the same for the margin's gradient
    zero_components: share of all pixels and channels in which the gradient is 0
    gradient_wins: share of images whose margin rises more along the gradient than along any of five random directions;
    low where the loss does not rise along the gradient
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
    ) -> AttackResult:
        """The points along the gradient, and the measures."""
        gradient = loss_gradient(model, images, lambda logits: cross_entropy(logits, labels), budget.draws).gradient
        of_margin = loss_gradient(model, images, lambda logits: margin(logits, labels), budget.draws).gradient
        along = budget.clip(images + budget.step(gradient), images)
        rises = []
        for number in range(DIRECTIONS):
            direction = uniform_rows(tuple(images.shape[1:]), seed, f"landscape {number}", indices).to(images)
            rises.append(_margin_of(model, budget.clip(images + budget.step(direction), images), labels))
        wins = _margin_of(model, along, labels) > torch.stack(rises).amax(0)
        zero = gradient == 0
        measures = {
            "zero_gradients": zero.flatten(1).all(1),
            "zero_margin_gradients": (of_margin == 0).flatten(1).all(1),
            "zero_components": zero,
            "gradient_wins": wins,
        }
        return AttackResult(along, measures={name: float(mask.float().mean()) for name, mask in measures.items()})


@torch.no_grad()
def _margin_of(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return margin(model(images), labels)
