"""AutoAttack (Croce & Hein 2020), and two of its attacks with parameters of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from harness.attacks.autoattack_package import Evaluation, evaluate, least_classes
from harness.attacks.base import Attack, AttackResult, Budget
from harness.errors import UserError, unknown_name
from harness.registry import attacks

VERSIONS = {
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
}
"""The stages of each version, in order."""
STANDARD, RANDOMIZED = "standard", "rand"
"""The versions for deterministic and for stochastic models."""
RANDOMIZED_DRAWS = 20
"""Gradients that `rand` averages; the other versions follow one."""
APGD_STAGES = {"ce": "apgd-ce", "dlr": "apgd-dlr", "targeted": "apgd-t"}
"""AutoAttack's attack for each loss of `apgd`."""


class PackagedAttack(Attack):
    """An attack that the AutoAttack package computes."""

    batch_size = 100
    """The package draws its random numbers for a whole batch: results are those of batches of this size."""

    def evaluation(self, draws: int) -> Evaluation:
        """The package's attacks and settings; `draws` gradients are averaged where the attack does not prescribe it."""
        raise NotImplementedError

    def __call__(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        budget: Budget,
        *,
        seed: int,
        indices: np.ndarray,
    ) -> AttackResult:
        """An example that fools the model, else the best point; a misclassified image is returned unchanged."""
        smallest = budget.scale.min()
        scaled = ScaledModel(model, budget.scale / smallest)
        starts = scaled.inward(images)
        result = evaluate(
            scaled,
            starts,
            labels,
            self.evaluation(budget.draws),
            norm=budget.norm,
            epsilon=budget.epsilon * float(smallest),
            seed=(seed + int(indices[0])) % 2**31,
        )
        moved = (result.images != starts).flatten(1).any(1)[:, None, None, None]
        return result._replace(images=torch.where(moved, budget.clip(scaled.outward(result.images), images), images))


@attacks.register("autoattack")
class AutoAttack(PackagedAttack):
    """AutoAttack, stage by stage.

    version: `standard`, `plus`, or `rand`, which averages 20 gradients; left out, `rand` for models that draw random
    numbers and `standard` for others
    """

    name = "autoattack"

    def __init__(self, *, version: str = "", stage: str = "") -> None:
        if version and version not in VERSIONS:
            raise unknown_name("version of AutoAttack", version, VERSIONS)
        self.version, self.stage = version, stage
        stages = VERSIONS[version or STANDARD]
        if stage and stage not in stages:
            raise unknown_name(f"stage of AutoAttack {version or STANDARD}", stage, stages)
        self.stages = () if stage else stages
        self.least_classes = least_classes((stage,) if stage else stages)

    @property
    def counts_as(self) -> str:
        """`rand` stands for `standard` on models that draw random numbers."""
        return self.name if self.version in ("", STANDARD, RANDOMIZED) else self.label

    def label_on(self, *, stochastic: bool) -> str:
        """The label with the version, except for `standard` on a deterministic model."""
        version = self.version or (RANDOMIZED if stochastic else STANDARD)
        return self.name if version == STANDARD and not stochastic else f"{self.name}:version={version}"

    def draws(self, asked: int) -> int:
        """The number that the version prescribes, whatever the run asks for."""
        return RANDOMIZED_DRAWS if self.version == RANDOMIZED else 1

    def at(self, stage: str) -> Attack:
        """One of its attacks alone."""
        return AutoAttack(version=self.version, stage=stage)

    def parameters(self) -> dict[str, Any]:
        """The version, which prescribes steps and restarts."""
        return {"version": self.version or STANDARD}

    def evaluation(self, draws: int) -> Evaluation:
        """One stage, or all in turn."""
        return Evaluation((self.stage,) if self.stage else self.stages, self.version or STANDARD)


@attacks.register("apgd")
class APGD(PackagedAttack):
    """Auto-PGD, which chooses the length of its steps itself (Croce & Hein 2020).

    loss: `ce`, `dlr`, or `targeted` for the DLR loss of nine target classes in turn
    steps, restarts: larger is stronger
    """

    name = "apgd"

    def __init__(self, *, loss: str = "ce", steps: int = 100, restarts: int = 1) -> None:
        if loss not in APGD_STAGES:
            raise unknown_name("loss of apgd", loss, APGD_STAGES)
        if min(steps, restarts) < 1:
            raise UserError(f"apgd: steps and restarts must be 1 or more, got {steps} and {restarts}.")
        self.loss, self.steps, self.restarts = loss, steps, restarts
        self.least_classes = least_classes((APGD_STAGES[loss],))

    def parameters(self) -> dict[str, Any]:
        """All of them."""
        return {"loss": self.loss, "steps": self.steps, "restarts": self.restarts}

    def evaluation(self, draws: int) -> Evaluation:
        """AutoAttack's attack for this loss."""
        settings = {"n_iter": self.steps, "n_restarts": self.restarts, "eot_iter": draws}
        return Evaluation((APGD_STAGES[self.loss],), settings={"apgd": settings, "apgd_targeted": settings})


@attacks.register("square")
class Square(PackagedAttack):
    """The Square attack, which needs logits only, no gradient (Andriushchenko et al. 2020).

    queries: logits it may ask for of each image; larger is stronger
    """

    name = "square"
    uses_gradient = False

    def __init__(self, *, queries: int = 5000) -> None:
        if queries < 1:
            raise UserError(f"square: queries must be 1 or more, got {queries}.")
        self.queries = queries

    def parameters(self) -> dict[str, Any]:
        """The number of queries."""
        return {"queries": self.queries}

    def evaluation(self, draws: int) -> Evaluation:
        """AutoAttack's Square attack."""
        return Evaluation(("square",), settings={"square": {"n_queries": self.queries}})


class ScaledModel(nn.Module):
    """The model on images divided by `ratio` [C,1,1] ≥ 1, where the ball has one radius for all channels.

    AutoAttack takes one radius. It searches up to 1 in each channel; values beyond the box are clipped to it.
    """

    def __init__(self, model: nn.Module, ratio: torch.Tensor) -> None:
        super().__init__()
        self.model = model
        self.ratio = ratio

    def inward(self, images: torch.Tensor) -> torch.Tensor:
        """Images in the coordinates of the ball."""
        return images / self.ratio

    def outward(self, scaled: torch.Tensor) -> torch.Tensor:
        """Images in [0,1] from the coordinates of the ball."""
        return (scaled * self.ratio).clamp(max=1)

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        """The model's logits."""
        return self.model(self.outward(scaled))
