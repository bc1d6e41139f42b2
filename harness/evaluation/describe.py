"""What is known of a cell before it is evaluated, as records keep it."""

from __future__ import annotations

from typing import Any

from harness.evaluation.jobs import Job, data_digest
from harness.models.defended import DefendedModel
from harness.models.robustbench import SCHEME as ZOO
from harness.records.schema import NO_PREPROCESS, Description
from harness.registry import defenses, preprocessors
from harness.types import Condition

_OWN_FIELDS = ("attack", "stage", "norm", "epsilon", "epsilon_space", "draws", "gradient")
"""Parameters of an attack that have fields of their own in a description."""


def describe(job: Job, model: DefendedModel, preprocess: str) -> Description:
    """The description of the cell of one model in a job."""
    condition, trained, source = job.condition, model.trained, job.transfer_source
    return Description(
        dataset=job.context.dataset.name,
        family=job.context.dataset.family or "",
        data=data_digest(job.context.split)[:16],
        backbone=model.backbone,
        defense=model.label,
        defense_parameters=defenses.parameters(model.defense.label),
        seed=model.seed,
        weights=model.digest,
        preset=trained.get("preset", ""),
        epochs=trained.get("recipe", {}).get("epochs"),
        train_images=trained.get("images"),
        amp=trained.get("amp", False),
        altered=trained.get("altered", False),
        suite=job.suite.label,
        purpose=job.suite.purpose,
        condition=condition.name,
        severity=condition.severity,
        source=condition.source,
        **describe_attack(condition, model.preprocessor.surrogates[0]),
        transfer_from="" if source is None else _source_label(source, model),
        preprocess=preprocess,
        preprocess_parameters={} if preprocess == NO_PREPROCESS else preprocessors.parameters(preprocess),
    )


def describe_attack(condition: Condition, usual_surrogate: str) -> dict[str, Any]:
    """The fields that say how the images were attacked; of a suite that attacks nobody, those it has parameters for."""
    given = condition.parameters
    fields = {name: value for name, value in given.items() if name in _OWN_FIELDS}
    if condition.threat is None:
        return fields
    return fields | {
        "threat": condition.threat,
        "attack_parameters": {name: value for name, value in given.items() if name not in _OWN_FIELDS},
        "counts_as": condition.counts_as or given.get("attack", ""),
        "stage_index": condition.stage_index,
        "stage_count": condition.stage_count,
        "usual_gradient": given.get("gradient", "") in ("", usual_surrogate),
    }


def _source_label(source: DefendedModel, target: DefendedModel) -> str:
    """The transfer source as tables show it, with its backbone where the target has another."""
    return source.label if source.backbone in (target.backbone, ZOO) else f"{source.label} ({source.backbone})"
