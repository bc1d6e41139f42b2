"""Adversarial training: every batch is replaced by adversarial examples of the network being trained."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from harness.contracts.defense import Defense
from harness.registry import defenses
from harness.types import Batch, Preset, Recipe, TrainingState

from ._adversarial import check_attack, frozen, pgd, stepped_recipe


@defenses.register("adversarial_training")
@dataclasses.dataclass(kw_only=True)
class AdversarialTraining(Defense):
    """Training on PGD examples of every batch (Madry et al. 2018; schedule of Rice, Wong & Kolter 2020).

    The examples are crafted in training mode, as the code of both papers does: batch norm normalises them by their own
    batch, and its running statistics see them. After each step that of Rice et al. passes the clean batch through in
    training mode too, to print its accuracy; this leaves a seventh of batch norm's running statistics to clean images.

    epsilon: radius of the ℓ∞ ball on images in [0,1]; a larger one costs more clean accuracy
    step: length of one move
    steps: how many moves; more make stronger examples, each for a forward and a backward pass
    """

    version: ClassVar[int] = 2
    epsilon: float = 8 / 255
    step: float = 2 / 255
    steps: int = 10

    def __post_init__(self) -> None:
        check_attack("adversarial_training", epsilon=self.epsilon, step=self.step, steps=self.steps)

    def recipe(self, base: Recipe, preset: Preset) -> Recipe:
        """`paper`: 200 epochs, a tenth from 100 and 150 on (Rice et al.); `quick`: the base's."""
        return stepped_recipe(base, preset, epochs=200, milestones=(100, 150), weight_decay=5e-4)

    def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
        """Cross-entropy on adversarial examples of the batch."""
        return functional.cross_entropy(model(self.craft(model, batch, state)), batch.labels)

    def after_step(self, model: nn.Module, batch: Batch, state: TrainingState) -> None:
        """Let the running statistics of the network see the clean batch."""
        with torch.no_grad():
            model(batch.images)

    def craft(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
        """Adversarial examples of the batch, [B,C,H,W] in [0,1], in the mode that the model is in."""
        with frozen(model, evaluation=False):
            return pgd(
                model,
                batch.images,
                batch.labels,
                epsilon=self.epsilon,
                step=self.step,
                steps=self.steps,
                generator=state.generator,
            )
