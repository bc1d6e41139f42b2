"""Adversarial examples, under three threat models: what the attacker knows of the defense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from harness.attacks.base import Attack, AttackResult, Budget
from harness.errors import UserError, unknown_name
from harness.metrics import show_epsilon
from harness.models.modules import inner_normalization
from harness.registry import attacks as registered
from harness.registry import suites
from harness.seeding import derive
from harness.suites.base import Suite, SuiteContext, known_ways
from harness.types import Condition, Threat

THREATS: tuple[Threat, ...] = ("bare", "transfer", "adaptive")
EOT_DRAWS = 10
"""Gradients averaged per step on a stochastic model."""


@suites.register("adversarial")
class Adversarial(Suite):
    """Attacks at every ε, under every threat model.

    bare: made on the network alone · transfer: made on another network of the run, see `--transfer-from` ·
    adaptive: made through the whole defense, by every way through it that the preprocessor declares (`gradients`).

    attacks: any of those registered, () for those of the run · limit: at most so many test images · draws: gradients
    averaged for a stochastic model · threats: a selection of the three · gradients: which of a preprocessor's ways to
    try, () for all (with the preset `quick` but for the costly ones); one that has none of them is gone through by its
    usual one.
    """

    needs_model = True
    version = 3

    def __init__(
        self,
        *,
        attacks: tuple[str, ...] = (),
        limit: int | None = None,
        draws: int = EOT_DRAWS,
        threats: tuple[str, ...] = THREATS,
        gradients: tuple[str, ...] = (),
    ) -> None:
        if limit is not None and limit < 1:
            raise UserError(f"adversarial: limit must be 1 or more images, got {limit}.")
        if draws < 1:
            raise UserError(f"adversarial: draws must be 1 or more, got {draws}.")
        if not threats or set(threats) - set(THREATS):
            raise UserError(f"adversarial: threats must be some of {'/'.join(THREATS)}, got {'/'.join(threats)!r}.")
        for gradient in gradients:
            if gradient not in known_ways():
                raise unknown_name("gradient", gradient, known_ways())
        if "" in attacks:
            raise UserError("adversarial: attacks must be names, such as attacks=fgsm/pgd, got one without a name.")
        self.attacks, self.limit, self.draws = attacks, limit, draws
        self.threats = [threat for threat in THREATS if threat in threats]
        self.gradients = gradients

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """Threat models, then attacks, then ways through the preprocessor, then radii, then an attack's stages.

        Raises: UserError for a radius out of range, an unknown attack, and one that only measures.
        """
        for epsilon in context.epsilons:
            if not 0 < epsilon <= 1:
                raise UserError(
                    f"epsilon must be above 0 and at most 1, got {epsilon:g}. Write 8/255 for eight levels."
                )
        attacks = self.attacks or context.attacks
        for name in attacks:
            if registered.create(name).only_measures:
                raise UserError(f"{name} only measures a model and fools none. The suite masking runs it.")
        return self._planned(context, self.threats, attacks)

    def _planned(self, context: SuiteContext, threats: Sequence[Threat], attacks: Sequence[str]) -> list[Condition]:
        return [
            condition
            for threat in threats
            if threat != "transfer" or context.has_transfer
            for name in dict.fromkeys(self._label_on(threat, name, context) for name in attacks)
            for gradient in self._ways(threat, name, context)
            for epsilon in context.epsilons
            for condition in self._stages(threat, name, gradient, epsilon, context)
        ]

    def disturb(
        self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module | None
    ) -> torch.Tensor:
        """Adversarial examples for the model as it is given."""
        assert model is not None
        attack = self._attack_of(condition)
        size = attack.batch_size or context.batch_size
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        examples: list[torch.Tensor] = []
        flags: list[str] = []
        measures: Counter[str] = Counter()
        for part in parts:
            result = self._attack(attack, part, condition, context, model)
            examples.append(result.images)
            flags += result.flags
            measures.update({name: value * len(part) / len(rows) for name, value in result.measures.items()})
        self.last_flags, self.last_measures = tuple(dict.fromkeys(flags)), dict(measures)
        return torch.cat(examples)

    def _attack(
        self, attack: Attack, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module
    ) -> AttackResult:
        measured_by = inner_normalization(model if context.target is None else context.target)
        device = measured_by.std.device
        images = torch.from_numpy(context.split.images[rows]).to(device).float().div_(255)
        labels = torch.from_numpy(context.split.labels[rows]).to(device)
        given = condition.parameters
        budget = Budget.of(
            given["epsilon"], given["epsilon_space"], measured_by.std, norm=given["norm"], draws=given["draws"]
        )
        seed = derive(context.seed, condition.name)
        return AttackResult.of(attack(model, images, labels, budget, seed=seed, indices=context.split.indices[rows]))

    def _ways(self, threat: Threat, name: str, context: SuiteContext) -> list[str]:
        """How the attack gets through the preprocessor: by every way it has, a costly attack by the first alone.

        One that uses no gradient is the same by each.
        """
        if threat != "adaptive":
            return [""]
        if not registered.create(name).uses_gradient:
            return list(context.gradients[:1])
        asked = self.gradients or [way for way in context.gradients if way not in context.left_out]
        ways = [way for way in context.gradients if way in asked] or list(context.gradients[:1])
        return ways[:1] if registered.create(name).stages else ways

    def _stages(
        self, threat: Threat, name: str, gradient: str, epsilon: float, context: SuiteContext
    ) -> list[Condition]:
        """One condition; for an attack in stages one each, after the stage before."""
        attack: Attack = registered.create(name)
        found: list[Condition] = []
        # What one stage leaves is known of the model under test alone, not of another that is attacked in its place.
        for stage in (attack.stages if threat != "transfer" else ()) or ("",):
            parameters = {
                "attack": name,
                **attack.parameters(),
                "stage": stage,
                "norm": context.norm,
                "epsilon": epsilon,
                "epsilon_space": context.epsilon_space,
                "draws": attack.draws(self.draws if _is_noisy(threat, context) else 1),
                "gradient": gradient,
            }
            way = f" via {gradient}" if gradient and gradient != context.gradients[0] else ""
            title = f"{name} {stage}" if stage else name
            found.append(
                Condition(
                    name=f"{title}{way} eps={show_epsilon(epsilon)}",
                    parameters={key: value for key, value in parameters.items() if value != ""},
                    threat=threat,
                    after=found[-1] if found else None,
                )
            )
        return found

    @staticmethod
    def _label_on(threat: Threat, name: str, context: SuiteContext) -> str:
        attack: Attack = registered.create(name)
        return attack.label_on(stochastic=_is_noisy(threat, context))

    def _attack_of(self, condition: Condition) -> Attack:
        attack: Attack = registered.create(condition.parameters["attack"])
        stage = condition.parameters.get("stage")
        return attack.at(stage) if stage else attack


def _is_noisy(threat: Threat, context: SuiteContext) -> bool:
    """Whether the model that is attacked draws random numbers."""
    return context.stochastic_source if threat == "transfer" else context.stochastic
