"""What an attack is, and the pieces that attacks share."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from harness.errors import UserError
from harness.models import Pipeline
from harness.seeding import uniform_rows
from harness.types import EpsilonSpace


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """An L∞ ball in the pixel space of each channel.

    radius: [C,1,1] float32, the largest change of a pixel in [0,1] · draws: how many gradients of a stochastic
    model are averaged (expectation over transformation, Athalye et al. 2018).
    """

    radius: torch.Tensor
    draws: int = 1

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise UserError(f"an attack's draws must be 1 or more, got {self.draws}.")

    @classmethod
    def of(cls, epsilon: float, space: EpsilonSpace, std: torch.Tensor, *, draws: int = 1) -> Budget:
        """A ball of radius `epsilon` on pixels in [0,1] or on images normalised by `std` [C,1,1]."""
        scale = std if space == "normalized" else torch.ones_like(std)
        return cls(radius=epsilon * scale, draws=draws)

    def clip(self, adversarial: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Back into the ball around `images` and into the box [0,1]."""
        low, high = (images - self.radius).clamp_(min=0), (images + self.radius).clamp_(max=1)
        return torch.minimum(torch.maximum(adversarial, low), high)


class Attack:
    """Makes adversarial examples for any module from images in [0,1] to logits; it does not grade itself."""

    name: str

    def parameters(self) -> dict[str, Any]:
        """What changes its results, as plain values."""
        return {}

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
        """Adversarial images [B,C,H,W], each inside the budget's ball and [0,1].

        `indices` [B] name the images, so that an image's random start does not depend on its batch.
        """
        raise NotImplementedError


def loss_slope(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, draws: int) -> torch.Tensor:
    """The gradient of each image's cross-entropy, summed over `draws` evaluations: [B,C,H,W].

    Preprocessors draw no random numbers, so that one pass through them serves every draw of the network.
    """
    point = images.detach().requires_grad_()
    shown = model.preprocessor(point) if isinstance(model, Pipeline) else point
    network = model.model if isinstance(model, Pipeline) else model
    inner = shown.detach().requires_grad_()
    slope = torch.zeros_like(images)
    for _ in range(draws):
        loss = functional.cross_entropy(network(inner), labels, reduction="sum")
        slope += torch.autograd.grad(loss, inner)[0]
    return torch.autograd.grad(shown, point, slope)[0] if isinstance(model, Pipeline) else slope


def random_start(images: torch.Tensor, budget: Budget, *, seed: int, name: str, indices: np.ndarray) -> torch.Tensor:
    """Uniform in the ball around each image, clipped to the box."""
    noise = uniform_rows(tuple(images.shape[1:]), seed, name, indices).to(images.device)
    return budget.clip(images + noise * budget.radius, images)
