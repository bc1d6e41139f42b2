"""Parametric noise injection: Gaussian noise on every weight, whose scale adversarial training learns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from harness.contracts.defense import Defense
from harness.errors import UserError
from harness.registry import defenses
from harness.types import Batch, Preset, Recipe, TrainingState

from ._adversarial import frozen, pgd

EPSILON, STEP, STEPS = 0.031, 0.01, 7
"""The published training attack, in pixels of [0,1]."""
CLEAN_SHARE = 5 / 160
"""Share of the epochs that train on clean images only, before the adversarial ones join."""
WEIGHT_DECAY = 3e-4


class NoiseSource:
    """The source of a model's weight noise: a random stream for each device, and a switch that turns the noise off.

    All noisy layers of a model share one. It is not in the state dict. A copy or a pickle of the model continues from
    the same state, independently.
    """

    def __init__(self, seed: int = 0) -> None:
        self.enabled = True
        self._seed = seed
        self._streams: dict[torch.device, torch.Generator] = {}

    def seed(self, seed: int) -> None:
        """Restart the noise from this seed, on every device."""
        self._seed = seed
        for stream in self._streams.values():
            stream.manual_seed(seed)

    def like(self, weight: torch.Tensor) -> torch.Tensor:
        """Standard normal numbers, of the weight's shape, type and device."""
        stream = self._stream(weight.device)
        return torch.randn(weight.shape, generator=stream, device=weight.device, dtype=weight.dtype)

    def _stream(self, device: torch.device) -> torch.Generator:
        if device not in self._streams:
            self._streams[device] = torch.Generator(device).manual_seed(self._seed)
        return self._streams[device]

    def __getstate__(self) -> dict[str, Any]:
        states = {str(device): stream.get_state() for device, stream in self._streams.items()}
        return {"enabled": self.enabled, "seed": self._seed, "states": states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["seed"])  # type: ignore[misc]
        self.enabled = state["enabled"]
        for device, stream in state["states"].items():
            self._stream(torch.device(device)).set_state(stream)


class WeightNoise(nn.Module):
    """w + α·η with a new draw η ~ N(0, std(w)²) at each call; gradients reach w and α, not η or std(w).

    std is the unbiased one of the whole tensor.

    alpha: the initial α; one number per layer, trained without weight decay
    """

    def __init__(self, alpha: float, source: NoiseSource) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(alpha))
        self.alpha.no_weight_decay = True  # type: ignore[attr-defined]
        self.source = source

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The noisy weight."""
        if not self.source.enabled:
            return weight
        fixed = weight.detach()
        return weight + self.alpha * (fixed.std() * self.source.like(fixed))


def add_noise(model: nn.Module, alpha: float) -> nn.Module:
    """Put noise on the weight of every convolution and linear layer, in place; biases and norms stay as they are.

    The layers keep their class. Reading `weight`, once in each forward pass, draws noise. The parameter itself becomes
    `parametrizations.weight.original`, beside `parametrizations.weight.0.alpha`. A weight of a single number has no
    standard deviation and stays as it is.
    """
    source = NoiseSource()
    for layer in list(model.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.numel() > 1:
            parametrize.register_parametrization(layer, "weight", WeightNoise(alpha, source))
    return model


def noise_sources(model: nn.Module) -> list[NoiseSource]:
    """The noise sources of a model, each once, in the order of its layers."""
    sources = (module.source for module in model.modules() if isinstance(module, WeightNoise))
    return list({id(source): source for source in sources}.values())


def seed_noise(model: nn.Module, seed: int) -> None:
    """Restart the noise of a model: after the same seed the same forward passes draw the same noise."""
    for source in noise_sources(model):
        source.seed(seed)


@contextmanager
def noise_enabled(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Noise on or off within the block."""
    before = [(source, source.enabled) for source in noise_sources(model)]
    try:
        for source, _ in before:
            source.enabled = enabled
        yield
    finally:
        for source, was in before:
            source.enabled = was


@defenses.register("pni")
class PNI(Defense):
    """Parametric noise injection on the weights, with adversarial training (He, Rakin & Fan, CVPR 2019).

    The noise stays on at evaluation.

    alpha: the noise's initial scale, in standard deviations of a layer's weights; then learned, one number per layer
    """

    stochastic = True
    version = 2

    def __init__(self, *, alpha: float = 0.25) -> None:
        if not math.isfinite(alpha):
            raise UserError(f"pni: alpha must be a number such as 0.25, got {alpha}.")
        self.alpha = alpha

    def recipe(self, base: Recipe, preset: Preset) -> Recipe:
        """`paper`: the published schedule, with Nesterov momentum; `quick`: the base with the published weight decay.

        The paper trains on clean images for 5 of 160 epochs, which is none of the 12 of `quick`.
        """
        if preset == "quick":
            return dataclasses.replace(base, weight_decay=WEIGHT_DECAY)
        return dataclasses.replace(
            base,
            epochs=160,
            batch_size=128,
            momentum=0.9,
            weight_decay=WEIGHT_DECAY,
            schedule="multi_step",
            milestones=(80 / 160, 120 / 160),
        )

    def protect(self, model: nn.Module) -> nn.Module:
        """The model itself, its weights now noisy."""
        return add_noise(model, self.alpha)

    def reseed(self, model: nn.Module, seed: int) -> None:
        """Restart the weight noise."""
        seed_noise(model, seed)

    def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
        """½ cross-entropy on clean images + ½ on adversarial ones; in the first epochs on clean ones alone.

        The attack, in evaluation mode, aims at what the clean pass in training mode predicts; the loss at the labels.
        """
        clean = model(batch.images)
        clean_loss = functional.cross_entropy(clean, batch.labels)
        if state.epoch < round(CLEAN_SHARE * state.epochs):
            return clean_loss
        with frozen(model):
            adversarial = pgd(
                model,
                batch.images,
                clean.detach().argmax(1),
                epsilon=EPSILON,
                step=STEP,
                steps=STEPS,
                generator=state.generator,
            )
        return (clean_loss + functional.cross_entropy(model(adversarial), batch.labels)) / 2
