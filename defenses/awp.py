"""Adversarial weight perturbation: adversarial training that also perturbs the weights at every step."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from harness.errors import UserError
from harness.registry import defenses
from harness.types import Batch, TrainingState

from ._adversarial import check_attack
from .adversarial_training import AdversarialTraining

PROXY_RATE = 0.01
"""Learning rate of the ascent step that finds the direction; only rounding depends on it."""


def ascent(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, share: float) -> dict[str, torch.Tensor]:
    """The move of each weight tensor that raises the loss on `images`: share·‖w‖/(‖Δ‖+1e-20)·Δ, by name.

    Δ is one plain gradient step up the loss. Weight tensors are, as in the published code, the trained parameters of
    more than one dimension whose name holds "weight": not a ViT's class token and position embedding. The model does
    not change: batch norm counts this pass in copies of its statistics.

    images: [B,C,H,W] in [0,1]
    labels: [B]
    share: length of the move relative to the weights'
    """
    weights = {name: p for name, p in model.named_parameters() if _is_perturbed(name, p)}
    copies = {name: buffer.clone() for name, buffer in model.named_buffers()}
    loss = functional.cross_entropy(functional_call(model, copies, images), labels)
    gradients = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
    moves = {}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        delta = PROXY_RATE * gradient
        moves[name] = share * (weight.detach().norm() / (delta.norm() + 1e-20) * delta)
    return moves


def _is_perturbed(name: str, parameter: torch.Tensor) -> bool:
    return "weight" in name and parameter.ndim > 1 and parameter.requires_grad


@defenses.register("awp")
@dataclasses.dataclass(kw_only=True)
class AWP(AdversarialTraining):
    """Adversarial training with adversarially perturbed weights (Wu, Xia & Wang, NeurIPS 2020).

    Recipe, training attack and the clean pass after each step are those of `adversarial_training`.

    gamma: length of the weights' perturbation relative to the weights; larger flattens the loss more and fits the
    training images less
    """

    gamma: float = 0.01

    def __post_init__(self) -> None:
        check_attack("awp", epsilon=self.epsilon, step=self.step, steps=self.steps)
        if not 0 < self.gamma < 1:
            raise UserError(f"awp: gamma must be between 0 and 1, such as 0.01, got {self.gamma:g}.")

    def protect(self, model: nn.Module) -> nn.Module:
        """The model itself. Raises: UserError for one that has no weight to perturb."""
        if not any(_is_perturbed(name, parameter) for name, parameter in model.named_parameters()):
            raise UserError(
                "awp perturbs parameters of more than one dimension whose name holds “weight”; this network has none. "
                "Train it with adversarial_training."
            )
        return model

    def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
        """Cross-entropy on adversarial examples, at the perturbed weights w + v.

        The optimizer steps from w by the gradient at w + v: w ← (w+v) − η∇L(w+v) − v. The model's own weights stay w.
        (The published code steps from w + v, so that weight decay acts on v too: a relative difference of
        lr·decay·gamma, 5e-7 a step.)
        """
        adversarial = self.craft(model, batch, state)
        moves = ascent(model, adversarial, batch.labels, share=self.gamma)
        perturbed = {name: p + moves[name] for name, p in model.named_parameters() if name in moves}
        return functional.cross_entropy(functional_call(model, perturbed, adversarial), batch.labels)
