"""Adversarial examples, under three threat models: what the attacker knows of the defense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from harness.attacks.base import Attack, AttackResult, Budget
from harness.contracts.model import inner_normalization
from harness.errors import UserError, unknown_name
from harness.metrics import show_epsilon
from harness.registry import attacks as registered
from harness.registry import suites
from harness.seeding import derive
from harness.suites.base import Perturbed, Suite, SuiteContext, known_surrogates
from harness.types import THREATS, Condition, Threat

EOT_DRAWS = 10
"""Gradients averaged per step on a stochastic model."""


@suites.register("adversarial")
class Adversarial(Suite):
    """Attacks at every ε, under every threat model.

    bare: made on the network alone.
    transfer: made on another network of the run, see `--transfer-from`.
    adaptive: made through the whole defense, by every surrogate gradient that the preprocessor declares.

    attacks: any of those registered; () for those of the run.
    limit: at most so many test images.
    draws: gradients averaged per step for a stochastic model.
    threats: a selection of the three.
    gradients: which of a preprocessor's surrogate gradients to use; () for all, with the preset `quick` but for the
        costly ones. Of a preprocessor that has none of them, the usual one is used.
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
            if gradient not in known_surrogates():
                raise unknown_name("gradient", gradient, known_surrogates())
        if "" in attacks:
            raise UserError("adversarial: attacks must be names, such as attacks=fgsm/pgd, got one without a name.")
        self.attacks, self.limit, self.draws = attacks, limit, draws
        self.threats = [threat for threat in THREATS if threat in threats]
        self.gradients = gradients

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """Threat models, then attacks, then surrogate gradients, then radii, then an attack's stages.

        Raises: UserError for an unknown attack, one that only measures, and what `planned` refuses.
        """
        attacks = self.attacks or context.attacks
        for name in attacks:
            if registered.create(name).only_measures:
                raise UserError(f"{name} only measures a model and fools none. The suite masking runs it.")
        return self.planned(context, self.threats, attacks)

    def planned(self, context: SuiteContext, threats: Sequence[Threat], attacks: Sequence[str]) -> list[Condition]:
        """The conditions of these attacks under these threat models.

        Raises: UserError for a radius out of range, and an attack that needs more classes than there are.
        """
        _check_radii(context)
        _check_classes(attacks, len(context.dataset.classes))
        return [
            condition
            for threat in threats
            if threat != "transfer" or context.has_transfer
            for attack in self._attacks_on(threat, attacks, context)
            for gradient in self._surrogates(threat, attack, context)
            for epsilon in context.epsilons
            for condition in self._stages(threat, attack, gradient, epsilon, context)
        ]

    def perturb(
        self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module | None
    ) -> Perturbed:
        """Adversarial examples for the model as it is given, made in batches of the attack's size or the run's."""
        assert model is not None
        attack = _attack_of(condition)
        size = attack.batch_size or context.batch_size
        examples: list[torch.Tensor] = []
        flags: list[str] = []
        measures: Counter[str] = Counter()
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            result = self._attack(attack, part, condition, context, model)
            examples.append(result.images)
            flags += result.flags
            measures.update({name: value * len(part) / len(rows) for name, value in result.measures.items()})
        return Perturbed(torch.cat(examples), tuple(dict.fromkeys(flags)), dict(measures))

    def _attack(
        self, attack: Attack, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module
    ) -> AttackResult:
        std = inner_normalization(model if context.target is None else context.target).std
        images = torch.from_numpy(context.split.images[rows]).to(std.device).float().div_(255)
        labels = torch.from_numpy(context.split.labels[rows]).to(std.device)
        given = condition.parameters
        budget = Budget.of(given["epsilon"], given["epsilon_space"], std, norm=given["norm"], draws=given["draws"])
        seed = derive(context.seed, condition.name)
        return AttackResult.of(attack(model, images, labels, budget, seed=seed, indices=context.split.indices[rows]))

    @staticmethod
    def _attacks_on(threat: Threat, attacks: Sequence[str], context: SuiteContext) -> Iterator[Attack]:
        """The attacks, each once, in the form that suits the model attacked."""
        stochastic = _is_stochastic(threat, context)
        labels = dict.fromkeys(registered.create(name).label_on(stochastic=stochastic) for name in attacks)
        return map(registered.create, labels)

    def _surrogates(self, threat: Threat, attack: Attack, context: SuiteContext) -> list[str]:
        """Which surrogate gradients an attack uses, one after another; "" where no preprocessor is attacked.

        An attack in stages is costly and uses the first alone; for one that uses no gradient they are all the same.
        """
        if threat != "adaptive":
            return [""]
        usual = list(context.surrogates[:1])
        if not attack.uses_gradient:
            return usual
        asked = self.gradients or [name for name in context.surrogates if name not in context.on_request]
        selected = [name for name in context.surrogates if name in asked] or usual
        return selected[:1] if attack.stages else selected

    def _stages(
        self, threat: Threat, attack: Attack, gradient: str, epsilon: float, context: SuiteContext
    ) -> list[Condition]:
        """One condition; for an attack in stages one each, after the stage before."""
        conditions: list[Condition] = []
        # What one stage leaves is known of the model under test alone, not of another that is attacked in its place.
        stages = attack.stages if threat != "transfer" else ()
        for index, stage in enumerate(stages or ("",)):
            parameters = {
                "attack": attack.label,
                **attack.parameters(),
                "stage": stage,
                "norm": context.norm,
                "epsilon": epsilon,
                "epsilon_space": context.epsilon_space,
                "draws": attack.draws(self.draws if _is_stochastic(threat, context) else 1),
                "gradient": gradient,
            }
            via = f" via {gradient}" if gradient and gradient != context.surrogates[0] else ""
            title = f"{attack.label} {stage}" if stage else attack.label
            conditions.append(
                Condition(
                    name=f"{title}{via} eps={show_epsilon(epsilon)}",
                    parameters={key: value for key, value in parameters.items() if value != ""},
                    threat=threat,
                    after=conditions[-1] if conditions else None,
                    stage_index=index if stages else None,
                    stage_count=len(stages) or None,
                    counts_as=attack.counts_as,
                )
            )
        return conditions


def _check_radii(context: SuiteContext) -> None:
    dataset = context.dataset
    largest = Budget.largest(dataset.image_shape, context.epsilon_space, dataset.std, context.norm)
    for epsilon in context.epsilons:
        if not 0 < epsilon <= largest:
            raise UserError(
                f"epsilon must be above 0 and at most {largest:.4g}, the ball that holds every image ({context.norm}, "
                f"{context.epsilon_space} space), got {epsilon:g}. Write 8/255 for eight levels."
            )


def _check_classes(attacks: Sequence[str], classes: int) -> None:
    for name in attacks:
        least = registered.create(name).least_classes
        if classes < least:
            raise UserError(
                f"the attack {name} needs {least} classes or more, the data set has {classes}. Use fgsm, or pgd with "
                "the loss ce."
            )


def _attack_of(condition: Condition) -> Attack:
    attack: Attack = registered.create(condition.parameters["attack"])
    stage = condition.parameters.get("stage")
    return attack.at(stage) if stage else attack


def _is_stochastic(threat: Threat, context: SuiteContext) -> bool:
    """Whether the model that is attacked draws random numbers."""
    return context.stochastic_source if threat == "transfer" else context.stochastic
