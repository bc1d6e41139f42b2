"""The optimiser and the learning rate's schedule that a recipe asks for."""

from __future__ import annotations

import torch
from torch import nn

from harness.types import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with the recipe's momentum; parameters marked `no_weight_decay` get none."""
    free = [p for p in model.parameters() if getattr(p, "no_weight_decay", False)]
    decayed = [p for p in model.parameters() if not getattr(p, "no_weight_decay", False)]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate per step: one rise and fall, or division by ten at the milestones."""
    total = max(1, recipe.epochs * steps_per_epoch)
    if recipe.schedule == "multi_step":
        steps = [round(share * total) for share in recipe.milestones]
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, steps, gamma=0.1)
    rise = max(1, round(0.2 * total))

    def share(step: int) -> float:
        return (step + 1) / rise if step < rise else max(0.0, (total - step) / max(1, total - rise))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)
