"""What an attack is, and the pieces that attacks share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from harness.contracts.defense import Preprocessed
from harness.errors import UserError
from harness.models.modules import Pipeline
from harness.registry import attacks
from harness.seeding import uniform_rows
from harness.types import EpsilonSpace, Norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """A ball around an image, measured in pixels of [0,1] divided by `scale`.

    epsilon: its radius · scale: [C,1,1] float32, 1 for pixels and the model's std for normalised images · norm:
    `Linf` bounds every pixel and channel, `L2` the length of the whole change · draws: how many gradients of a
    stochastic model are averaged (expectation over transformation, Athalye et al. 2018).
    """

    epsilon: float
    scale: torch.Tensor
    norm: Norm = "Linf"
    draws: int = 1

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise UserError(f"an attack's draws must be 1 or more, got {self.draws}.")
        if self.norm not in ("Linf", "L2"):
            raise UserError(f"an attack's norm must be Linf or L2, got {self.norm!r}.")

    @classmethod
    def of(
        cls, epsilon: float, space: EpsilonSpace, std: torch.Tensor, *, norm: Norm = "Linf", draws: int = 1
    ) -> Budget:
        """A ball of radius `epsilon` on pixels in [0,1] or on images normalised by `std` [C,1,1]."""
        scale = std if space == "normalized" else torch.ones_like(std)
        return cls(epsilon=epsilon, scale=scale, norm=norm, draws=draws)

    @property
    def radius(self) -> torch.Tensor:
        """[C,1,1] the furthest a single pixel may move."""
        return self.epsilon * self.scale

    def clip(self, adversarial: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Back into the ball around `images` and into the box [0,1]."""
        if self.norm == "L2":
            change = (adversarial - images) / self.scale
            shrunk = change * (self.epsilon / _lengths(change)).clamp(max=1)
            return (images + shrunk * self.scale).clamp(0, 1)
        low, high = (images - self.radius).clamp_(min=0), (images + self.radius).clamp_(max=1)
        return torch.minimum(torch.maximum(adversarial, low), high)

    def step(self, slope: torch.Tensor, share: float = 1.0) -> torch.Tensor:
        """The move by `share` of the radius along which a loss of gradient `slope` rises fastest; 0 where that is 0."""
        if self.norm == "L2":
            direction = slope * self.scale  # the gradient in the ball's own coordinates
            return share * self.radius * direction / _lengths(direction)
        return share * self.radius * slope.sign()

    def distance(self, adversarial: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """[B] how far each example is from its image, in the ball's norm and scale."""
        change = ((adversarial - images) / self.scale).flatten(1)
        return change.norm(dim=1) if self.norm == "L2" else change.abs().amax(1)


def _lengths(vectors: torch.Tensor) -> torch.Tensor:
    """[B,1,1,1] Euclidean; never 0, so that it may stand under a fraction."""
    smallest = torch.finfo(vectors.dtype).tiny
    return vectors.flatten(1).norm(dim=1).clamp(min=smallest)[:, None, None, None]


@attacks.base_class
class Attack:
    """Makes adversarial examples for any module from images in [0,1] to logits; it does not grade itself.

    stages: of an attack in several parts, each of which takes on what the ones before left · batch_size: how many
    images it must be given at a time for its results to be the same, None where that does not matter · uses_gradient:
    whether the way through a preprocessor matters to it · only_measures: whether it looks at a model without meaning to
    fool it, so that it has no place in a worst case · flags: what it had to say of the model, measures: numbers it
    found, as means over the images; both filled by each call.

    `label`, its name with its parameters, is set by the registry.
    """

    name: str
    label: str
    stages: tuple[str, ...] = ()
    uses_gradient: bool = True
    only_measures: bool = False
    batch_size: int | None = None
    flags: tuple[str, ...] = ()
    measures: Mapping[str, float] = {}

    @property
    def counts_as(self) -> str:
        """The attack that worst cases take it for: forms of one attack for different models count as one."""
        return self.label

    def at(self, stage: str) -> Attack:
        """The attack of one stage alone."""
        raise UserError(f"the attack {self.name} has no stage {stage!r}.")

    def label_on(self, *, stochastic: bool) -> str:
        """The label of what it becomes on a model that draws random numbers, or on one that does not."""
        return self.label

    def draws(self, asked: int) -> int:
        """How many gradients it really averages in a step where so many are asked for."""
        return asked if self.uses_gradient else 1

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


class Slope(NamedTuple):
    """A loss's gradient at each image [B,C,H,W], and the logits there [B,K]; both averaged over the draws."""

    gradient: torch.Tensor
    logits: torch.Tensor


def loss_slope(
    model: nn.Module, images: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor], draws: int = 1
) -> Slope:
    """The gradient of each image's own loss, which `loss` computes from the logits: [B,K] → [B].

    Preprocessors draw no random numbers, so that one pass through them serves every draw of the network.
    """
    point = images.detach().requires_grad_()
    shown = Preprocessed.of(model.preprocessor(point)).images if isinstance(model, Pipeline) else point
    network = model.model if isinstance(model, Pipeline) else model
    inner = shown.detach().requires_grad_()
    gradient, total = torch.zeros_like(images), torch.zeros(())
    for _ in range(draws):
        logits = network(inner)
        gradient += torch.autograd.grad(loss(logits).sum(), inner)[0]
        total = total.to(logits) + logits.detach()
    if isinstance(model, Pipeline):
        gradient = torch.autograd.grad(shown, point, gradient)[0]
    return Slope(gradient / draws, total / draws)


def random_start(images: torch.Tensor, budget: Budget, *, seed: int, name: str, indices: np.ndarray) -> torch.Tensor:
    """Uniform in the ball around each image, clipped to the box."""
    noise = uniform_rows(tuple(images.shape[1:]), seed, name, indices).to(images.device)
    if budget.norm == "L2":
        noise = _uniform_in_ball(noise, uniform_rows((1, 1, 1), seed, f"{name} length", indices).to(images.device))
    return budget.clip(images + noise * budget.radius, images)


def _uniform_in_ball(noise: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Uniform in the Euclidean unit ball, from numbers [B,…] and [B,1,1,1] uniform in [−1,1]."""
    normal = torch.erfinv(noise.clamp(-1 + 1e-6, 1 - 1e-6))  # a normal vector's direction is uniform
    return normal / _lengths(normal) * length.abs() ** (1 / noise[0].numel())
