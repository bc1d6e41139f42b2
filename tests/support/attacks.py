"""What the tests of attacks share: small images and models, balls, and calls of an attack."""

from __future__ import annotations

import math
import types
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from harness.attacks.base import Attack, AttackResult, Budget
from harness.contracts.model import NormalizedModel
from harness.types import Norm

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SHAPE = (3, 6, 6)
ONES = torch.ones(3, 1, 1)


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 8, *, seed: int = 0) -> torch.Tensor:
    """Images of which some pixels lie at the ends of [0,1]."""
    return (torch.rand((count, *SHAPE), generator=source(seed)) * 1.4 - 0.2).clamp(0, 1)


class Linear(nn.Module):
    """Two logits, each linear in the pixels."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn((2, math.prod(SHAPE)), generator=source(seed)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight.T


class Times(nn.Module):
    """Logits times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return self.factor * logits


def network(seed: int = 0) -> NormalizedModel:
    """A small smooth network: no gradient of it is exactly zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 6, 3), nn.GELU(), nn.Flatten(), nn.Linear(96, 3)]
        return NormalizedModel(nn.Sequential(*layers), MEAN, STD).eval()


def ball(epsilon: float = 8 / 255, *, norm: Norm = "Linf", scale: torch.Tensor = ONES, draws: int = 1) -> Budget:
    return Budget(epsilon=epsilon, scale=scale, norm=norm, draws=draws)


def result_of(
    attack: Attack, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, **options: Any
) -> AttackResult:
    """The images, flags and measures of an attack, in a small L∞ ball unless told otherwise."""
    given = {"budget": ball(), "seed": 0, "indices": np.arange(len(images)), **options}
    return AttackResult.of(attack(model, images, labels, given.pop("budget"), **given))


def run(attack: Attack, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, **options: Any) -> torch.Tensor:
    """The images alone."""
    return result_of(attack, model, images, labels, **options).images


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def five_classes() -> tuple[NormalizedModel, torch.Tensor, torch.Tensor]:
    """A network of five classes, trained on coarse patterns under noise, and 100 test images it mostly knows."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [nn.Conv2d(3, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(128, 5)]
        model = NormalizedModel(nn.Sequential(*layers), MEAN, STD).eval()
    labels = torch.arange(400) % 5
    patterns = torch.rand((5, 3, 6, 6), generator=source(5)) * 0.3
    images = (patterns[labels] + 0.35 + 0.16 * torch.randn((400, 3, 6, 6), generator=source(6))).clamp(0, 1)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(80):
        optimizer.zero_grad()
        functional.cross_entropy(model(images[:300]), labels[:300]).backward()
        optimizer.step()
    return model, images[300:], labels[300:]


DATASET = types.SimpleNamespace(classes=tuple("abcdefghij"), image_shape=(3, 6, 6), std=STD)
"""What attacks ask of a data set."""
