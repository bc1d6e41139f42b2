"""Attacks that follow the gradient in an L∞ or L2 ball: one step (FGSM) and many (PGD)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from harness.attacks.base import Attack, Budget, LossGradient, loss_gradient, random_start
from harness.attacks.losses import LEAST_CLASSES, LEAST_CLASSES_TARGETED, LOSSES, TARGETED, cross_entropy
from harness.errors import UserError, unknown_name
from harness.registry import attacks


@attacks.register("fgsm")
class FGSM(Attack):
    """One step of size ε along the gradient's sign, in an L2 ball along the gradient (Goodfellow et al. 2015)."""

    name = "fgsm"

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
        """One step from the image itself."""
        gradient = loss_gradient(model, images, lambda logits: cross_entropy(logits, labels), budget.draws).gradient
        return budget.clip(images + budget.step(gradient), images)


@attacks.register("pgd")
class PGD(Attack):
    """Projected gradient descent from a random start (Madry et al. 2018), in steps of ε/4.

    steps: of each ascent
    relative_step: length of a step as a share of ε
    restarts: ascents from different starts, for each target class where there are targets; after the first ascent only
    images that the model still classifies correctly are attacked again
    loss: `ce`, `margin` or `dlr`
    targets: how many wrong classes are targeted one after another, the likeliest first; 0 for an untargeted attack
    early_stop: end an image's ascent at the first step that fools the model instead of at the last. Against the
    attacked model this is as strong, and faster. But the examples barely fool that model: scored behind a preprocessor
    (threat model `bare`), they overstate the preprocessor's robust accuracy.
    """

    name = "pgd"

    def __init__(
        self,
        *,
        steps: int = 20,
        relative_step: float = 0.25,
        restarts: int = 1,
        loss: str = "ce",
        targets: int = 0,
        early_stop: bool = False,
    ) -> None:
        for what, count, least in (("steps", steps, 1), ("restarts", restarts, 1), ("targets", targets, 0)):
            if count < least:
                raise UserError(f"pgd: {what} must be {least} or more, got {count}.")
        if not 0 < relative_step < float("inf"):
            raise UserError(f"pgd: relative_step (a share of ε) must be a number above 0, got {relative_step}.")
        if loss not in LOSSES:
            raise unknown_name("loss", loss, LOSSES)
        if targets and loss not in TARGETED:
            raise UserError(f"pgd: the losses that can aim at a class are {', '.join(TARGETED)}, got {loss}.")
        self.steps, self.relative_step, self.restarts = steps, relative_step, restarts
        self.loss, self.targets, self.early_stop = loss, targets, early_stop
        self.least_classes = (LEAST_CLASSES_TARGETED if targets else LEAST_CLASSES).get(loss, 2)

    def parameters(self) -> dict[str, Any]:
        """All of them."""
        names = ("steps", "relative_step", "restarts", "loss", "targets", "early_stop")
        return {name: getattr(self, name) for name in names}

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
        """The example of the first ascent; for an image that it does not fool, the first example that does."""
        victims = Victims(images, labels, None, indices)
        target_classes = self._target_classes(model, victims, budget.draws)
        adversarial, pending = images.clone(), torch.arange(len(images), device=images.device)
        for number, targets in enumerate(target_classes):
            rest = victims._replace(targets=targets).take(pending)
            name = f"pgd {number}" if number else "pgd"
            start = random_start(rest.images, budget, seed=seed, name=name, indices=rest.indices)
            examples = self._ascend(model, rest, start, budget)
            if len(target_classes) == 1:
                return examples
            fooled = _mean_logits(model, examples, budget.draws).argmax(1) != rest.labels
            taken = fooled if number else torch.ones_like(fooled)
            adversarial[pending[taken]] = examples[taken]
            pending = pending[~fooled]
            if not len(pending):
                break
        return adversarial

    def _ascend(self, model: nn.Module, victims: Victims, start: torch.Tensor, budget: Budget) -> torch.Tensor:
        """The last of `steps` iterates; with early_stop an image stays at the first that is misclassified."""
        adversarial, rows = start, torch.arange(len(start), device=start.device)
        for _ in range(self.steps):
            ascent = loss_gradient(model, adversarial[rows], self._loss_of(victims), budget.draws)
            if self.early_stop:
                correct = ascent.logits.argmax(1) == victims.labels
                rows, victims = rows[correct], victims.take(correct)
                ascent = LossGradient(*(part[correct] for part in ascent))
                if not len(rows):
                    break
            move = budget.step(ascent.gradient, self.relative_step)
            adversarial = adversarial.index_copy(0, rows, budget.clip(adversarial[rows] + move, victims.images))
        return adversarial

    def _target_classes(self, model: nn.Module, victims: Victims, draws: int) -> list[torch.Tensor | None]:
        """For every ascent the target class of each image [B], or None where it is untargeted."""
        if not self.targets:
            return [None] * self.restarts
        logits = _mean_logits(model, victims.images, draws)
        wrong = logits.scatter(1, victims.labels[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]
        return [*wrong[:, : self.targets].unbind(1)] * self.restarts

    def _loss_of(self, victims: Victims) -> Callable[[torch.Tensor], torch.Tensor]:
        targets = victims.targets
        if targets is None:
            return lambda logits: LOSSES[self.loss](logits, victims.labels)
        return lambda logits: TARGETED[self.loss](logits, victims.labels, targets)


class Victims(NamedTuple):
    """Images under attack."""

    images: torch.Tensor
    """[B,C,H,W] in [0,1]."""
    labels: torch.Tensor
    """[B], their true classes."""
    targets: torch.Tensor | None
    """[B], the classes that the attack aims at; None for an untargeted one."""
    indices: np.ndarray
    """[B], their positions in the full split."""

    def take(self, rows: torch.Tensor) -> Victims:
        """Some of them, by position or mask."""
        targets = None if self.targets is None else self.targets[rows]
        return Victims(self.images[rows], self.labels[rows], targets, self.indices[rows.cpu().numpy()])


@torch.no_grad()
def _mean_logits(model: nn.Module, images: torch.Tensor, draws: int) -> torch.Tensor:
    """Logits [B,K] averaged over the draws."""
    return torch.stack([model(images) for _ in range(draws)]).mean(0)
