"""Self-adaptive training: TRADES whose targets move from the labels towards the network's own predictions."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from harness.contracts.defense import Defense
from harness.errors import UserError
from harness.registry import defenses
from harness.types import Batch, Preset, Recipe, TrainingState

from ._adversarial import check_attack, close_start, frozen, pgd, stepped_recipe, summed_divergence

TARGETS = "targets"
"""The training memory's name for the soft targets [N,classes]; an image not trained on yet has a row of zeros."""


@defenses.register("sat")
@dataclasses.dataclass(kw_only=True)
class SelfAdaptiveTraining(Defense):
    """Self-adaptive training on TRADES: late targets follow the model (Huang, Zhang & Zhang, NeurIPS 2020).

    epsilon, step, steps: of the training attack, on images in [0,1]
    beta: weight of the divergence between clean and adversarial predictions; larger trades clean for robust accuracy
    start: which share of the epochs, counted from 1, is the first in which targets move: the 70th of 100
    momentum: share of a target that each move keeps
    """

    version: ClassVar[int] = 2
    epsilon: float = 0.031
    step: float = 0.007
    steps: int = 10
    beta: float = 6.0
    start: float = 0.7
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_attack("sat", epsilon=self.epsilon, step=self.step, steps=self.steps)
        if not 0 <= self.beta < float("inf"):
            raise UserError(f"sat: beta must be 0 or more, such as 6, got {self.beta:g}.")
        for name, share in (("start", self.start), ("momentum", self.momentum)):
            if not 0 <= share <= 1:
                raise UserError(f"sat: {name} must be a share from 0 to 1, got {share:g}.")

    def recipe(self, base: Recipe, preset: Preset) -> Recipe:
        """`paper`: 100 epochs, a tenth from the 75th, the 90th and the 100th on; `quick`: the base's."""
        return stepped_recipe(base, preset, epochs=100, milestones=(74, 89, 99), weight_decay=2e-4)

    def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
        """Cross-entropy of the clean images with their targets + beta · KL(clean‖adversarial), means of the batch."""
        adversarial = self._craft(model, batch.images, state.generator)
        clean = model(batch.images).float()
        divergence = summed_divergence(model(adversarial), clean.softmax(1)) / len(clean)
        return self._clean_loss(clean, batch, state) + self.beta * divergence

    def _craft(self, model: nn.Module, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Images whose predictions are far from the clean images', in evaluation mode."""
        with frozen(model):
            return pgd(
                model,
                images,
                model(images).float().softmax(1),
                epsilon=self.epsilon,
                step=self.step,
                steps=self.steps,
                generator=generator,
                loss=summed_divergence,
                start=close_start,
            )

    def _clean_loss(self, clean: torch.Tensor, batch: Batch, state: TrainingState) -> torch.Tensor:
        if state.epoch + 1 < round(self.start * state.epochs):  # the published code counts epochs from 1
            return functional.cross_entropy(clean, batch.labels)
        targets = self._moved_targets(clean.detach().softmax(1), batch, state.memory)
        weights = targets.amax(1)
        losses = functional.cross_entropy(clean, targets, reduction="none")
        return (weights / weights.mean() * losses).mean()

    def _moved_targets(self, predicted: torch.Tensor, batch: Batch, memory: dict[str, torch.Tensor]) -> torch.Tensor:
        """The batch's targets [B,classes] after one move towards `predicted`; they are written to the memory."""
        table = _table(memory, batch.indices, predicted)
        before = table[batch.indices]
        labels = functional.one_hot(batch.labels, predicted.shape[1]).to(before)
        before = torch.where(before.any(1, keepdim=True), before, labels)
        after = self.momentum * before + (1 - self.momentum) * predicted
        table[batch.indices] = after
        return after


def _table(memory: dict[str, torch.Tensor], indices: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The targets in memory, [N,classes], with rows of zeros up to the largest of `indices`."""
    table = memory.get(TARGETS, like[:0])
    missing = int(indices.max()) + 1 - len(table)
    if missing > 0:
        table = memory[TARGETS] = functional.pad(table, (0, 0, 0, missing))
    return table
