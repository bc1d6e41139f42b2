"""Adversarial examples, under two threat models: the network alone is known (bare), or the whole defense (adaptive)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from harness.attacks.base import Budget
from harness.errors import UserError
from harness.metrics import show_epsilon
from harness.models import NormalizedModel
from harness.registry import attacks as registered
from harness.registry import suites
from harness.seeding import derive
from harness.suites.base import Suite, SuiteContext
from harness.types import Condition, Threat

THREATS: tuple[Threat, ...] = ("bare", "adaptive")
EOT_DRAWS = 10
"""Gradients averaged per step on a stochastic model."""


@suites.register("adversarial")
class Adversarial(Suite):
    """FGSM and PGD at every ε, made on the network alone (bare) and through the whole defense (adaptive)."""

    needs_model = True

    def __init__(
        self, *, attacks: tuple[str, ...] = ("fgsm", "pgd"), limit: int | None = None, draws: int = EOT_DRAWS
    ) -> None:
        if limit is not None and limit < 1:
            raise UserError(f"adversarial: limit must be 1 or more images, got {limit}.")
        if draws < 1:
            raise UserError(f"adversarial: draws must be 1 or more, got {draws}.")
        self.attacks = attacks
        self.limit = limit
        self.draws = draws

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """Threat models, then attacks, then radii."""
        for epsilon in context.epsilons:
            if not 0 < epsilon <= 1:
                raise UserError(
                    f"epsilon must be above 0 and at most 1, got {epsilon:g}. Write 8/255 for eight levels."
                )
        return [
            self._condition(threat, name, epsilon, context)
            for threat in THREATS
            for name in dict.fromkeys(map(registered.canonical, self.attacks))
            for epsilon in context.epsilons
        ]

    def disturb(
        self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module | None
    ) -> torch.Tensor:
        """Adversarial examples for the model as it is given."""
        assert model is not None
        parts = np.array_split(rows, max(1, -(-len(rows) // context.batch_size)))
        return torch.cat([self._attack(part, condition, context, model) for part in parts])

    def _attack(self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module) -> torch.Tensor:
        normalized = inner_normalization(model)
        device = normalized.std.device
        images = torch.from_numpy(context.split.images[rows]).to(device).float().div_(255)
        labels = torch.from_numpy(context.split.labels[rows]).to(device)
        given = condition.parameters
        budget = Budget.of(given["epsilon"], given["epsilon_space"], normalized.std, draws=given["draws"])
        attack = registered.create(given["attack"])
        return attack(
            model,
            images,
            labels,
            budget,
            seed=derive(context.seed, condition.name),
            indices=context.split.indices[rows],
        )

    def _condition(self, threat: Threat, label: str, epsilon: float, context: SuiteContext) -> Condition:
        attack = registered.create(label)
        parameters = {
            "attack": label,
            **attack.parameters(),
            "norm": "Linf",
            "epsilon": epsilon,
            "epsilon_space": context.epsilon_space,
            "draws": self.draws if context.stochastic else 1,
        }
        return Condition(f"{label} eps={show_epsilon(epsilon)}", None, parameters, threat)


def inner_normalization(model: nn.Module) -> NormalizedModel:
    """The part of a model that holds its normalisation."""
    for module in model.modules():
        if isinstance(module, NormalizedModel):
            return module
    raise UserError(
        "the model holds no NormalizedModel; build it with harness.models.NormalizedModel(network, mean, std)."
    )
