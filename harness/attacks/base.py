"""The base class of attacks, and what they share: the ball, its step, the gradient of a loss, the random start."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from harness.contracts.defense import Preprocessed
from harness.contracts.model import Pipeline
from harness.errors import UserError, refuse_former
from harness.registry import attacks
from harness.seeding import uniform_rows
from harness.types import EpsilonSpace, Norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """A ball around an image, measured in pixels of [0,1] divided by `scale`."""

    epsilon: float
    """The radius of the ball."""
    scale: torch.Tensor
    """[C,1,1] float32: 1 for pixels, the model's std for normalised images."""
    norm: Norm = "Linf"
    """`Linf` bounds every pixel and channel, `L2` the length of the whole change."""
    draws: int = 1
    """Gradients of a stochastic model that are averaged (expectation over transformation, Athalye et al. 2018)."""

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

    @staticmethod
    def largest(image_shape: tuple[int, ...], space: EpsilonSpace, std: tuple[float, ...], norm: Norm) -> float:
        """The radius of the ball that holds every image of this shape, whatever the one in the middle."""
        side = 1.0 if space == "pixel" else 1 / min(std)
        return side if norm == "Linf" else side * math.prod(image_shape) ** 0.5

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

    def step(self, gradient: torch.Tensor, share: float = 1.0) -> torch.Tensor:
        """The move by `share` of the radius along which a loss with this gradient rises fastest; 0 where it is 0."""
        if self.norm == "L2":
            direction = gradient * self.scale  # the gradient in the ball's own coordinates
            return share * self.radius * direction / _lengths(direction)
        return share * self.radius * gradient.sign()

    def distance(self, adversarial: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """[B] how far each example is from its image, in the ball's norm and scale."""
        change = ((adversarial - images) / self.scale).flatten(1)
        return change.norm(dim=1) if self.norm == "L2" else change.abs().amax(1)


def _lengths(vectors: torch.Tensor) -> torch.Tensor:
    """[B,1,1,1] Euclidean lengths; never 0, so that one can divide by them."""
    smallest = torch.finfo(vectors.dtype).tiny
    return vectors.flatten(1).norm(dim=1).clamp(min=smallest)[:, None, None, None]


class AttackResult(NamedTuple):
    """The images that an attack returns, with flags and measures."""

    images: torch.Tensor
    """[B,C,H,W], each inside the budget's ball and [0,1]."""
    flags: tuple[str, ...] = ()
    """The attack's warnings, a line of text each."""
    measures: Mapping[str, float] = {}
    """Numbers by name, each the mean over the images."""

    @classmethod
    def of(cls, returned: torch.Tensor | AttackResult) -> AttackResult:
        """The result itself; plain images become one without flags and measures."""
        return returned if isinstance(returned, AttackResult) else cls(returned)


@attacks.base_class
class Attack:
    """Makes adversarial examples for any module from images in [0,1] to logits; it does not grade itself."""

    name: str
    label: str
    """The name with its parameters, set by the registry."""
    stages: tuple[str, ...] = ()
    """The parts of an attack in several parts; each attacks only the images that the parts before did not fool."""
    uses_gradient: bool = True
    """Whether it follows a gradient, so that a preprocessor's surrogate gradients matter to it."""
    only_measures: bool = False
    """Whether it measures the model without trying to fool it, and so does not belong in a worst case."""
    batch_size: int | None = None
    """Images it must be given at a time for the same results; None where the batch does not matter."""
    least_classes: int = 2
    """The number of classes that a model must have to be attacked."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises: UserError for what was renamed."""
        super().__init_subclass__(**options)
        returned = "returned by the call: AttackResult(images, flags, measures)"
        refuse_former(cls, {"flags": returned, "measures": returned})

    @property
    def counts_as(self) -> str:
        """The label under which worst cases count it: variants of one attack for different models count as one."""
        return self.label

    def at(self, stage: str) -> Attack:
        """The attack of one stage alone. Raises: UserError where there is no such stage."""
        raise UserError(f"the attack {self.name} has no stage {stage!r}.")

    def label_on(self, *, stochastic: bool) -> str:
        """The label of the attack that is run on a model, which may depend on whether the model is stochastic."""
        return self.label

    def draws(self, asked: int) -> int:
        """How many gradients it averages in a step, where the run asks for `asked`."""
        return asked if self.uses_gradient else 1

    def parameters(self) -> dict[str, Any]:
        """The parameters that change its results, as plain values."""
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
    ) -> torch.Tensor | AttackResult:
        """Adversarial images [B,C,H,W], each inside the budget's ball and [0,1], alone or with flags and measures.

        `indices` [B] name the images, so that an image's random start does not depend on its batch.
        """
        raise NotImplementedError


class LossGradient(NamedTuple):
    """A loss's gradient at each image [B,C,H,W], and the logits there [B,K]; both averaged over the draws."""

    gradient: torch.Tensor
    logits: torch.Tensor


def loss_gradient(
    model: nn.Module, images: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor], draws: int = 1
) -> LossGradient:
    """The gradient of each image's own loss, which `loss` computes from the logits: [B,K] → [B].

    A preprocessor draws no random numbers: one pass of it serves every draw of the network.
    """
    point = images.detach().requires_grad_()
    preprocessed = Preprocessed.of(model.preprocessor(point)).images if isinstance(model, Pipeline) else point
    network = model.model if isinstance(model, Pipeline) else model
    inner = preprocessed.detach().requires_grad_()
    gradient, total = torch.zeros_like(images), torch.zeros(())
    for _ in range(draws):
        logits = network(inner)
        gradient += torch.autograd.grad(loss(logits).sum(), inner)[0]
        total = total.to(logits) + logits.detach()
    if isinstance(model, Pipeline):
        gradient = torch.autograd.grad(preprocessed, point, gradient)[0]
    return LossGradient(gradient / draws, total / draws)


def random_start(images: torch.Tensor, budget: Budget, *, seed: int, name: str, indices: np.ndarray) -> torch.Tensor:
    """A random point of the ball around each image, uniform before it is clipped to the box."""
    noise = uniform_rows(tuple(images.shape[1:]), seed, name, indices).to(images.device)
    if budget.norm == "L2":
        length = uniform_rows((1, 1, 1), seed, f"{name} length", indices).to(images.device)
        normal = torch.erfinv(noise.clamp(-1 + 1e-6, 1 - 1e-6))  # a normal vector's direction is uniform
        noise = normal / _lengths(normal) * length.abs() ** (1 / noise[0].numel())
    return budget.clip(images + noise * budget.radius, images)
