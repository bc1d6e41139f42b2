"""What a run is made of: jobs, whose cells share images, and the cells that are scored on them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from harness.contracts.defense import Preprocessor
from harness.evaluation.setup import RunSetup
from harness.models.defended import DefendedModel
from harness.models.robustbench import SCHEME as ZOO
from harness.records.schema import Description, Details, PlannedCell
from harness.registry import suites
from harness.suites.base import Perturbed, Suite, SuiteContext
from harness.types import Condition, Split

CODE_VERSION = 1
"""Part of every cell's identity; raised when scoring itself changes numbers."""
NONE = "none"
"""The preprocessing of images that the network is given as they are."""


class Job(NamedTuple):
    """One condition, on the models that share its images."""

    suite: Suite
    condition: Condition
    context: SuiteContext
    models: list[DefendedModel]
    attacked: DefendedModel | None = None
    """The model that the examples are made on; None where no model is attacked."""

    @property
    def transfer_source(self) -> DefendedModel | None:
        """The model that is attacked in place of those that are scored."""
        return self.attacked if self.condition.threat == "transfer" else None

    @property
    def attacked_through(self) -> str:
        """The preprocessing that the attacker saw in front of the attacked model."""
        adaptive = self.attacked is not None and self.condition.threat == "adaptive"
        return self.attacked.preprocessor.label if self.attacked is not None and adaptive else NONE


@dataclasses.dataclass(kw_only=True, eq=False)
class PendingCell:
    """A cell that is being scored: predictions come in block by block."""

    planned: PlannedCell
    model: DefendedModel
    preprocess: str
    before: np.ndarray | None = None
    """The predictions [N] of the attack's stage before, kept for the images that this stage leaves alone."""
    predictions: list[np.ndarray] = dataclasses.field(default_factory=list)
    flags: dict[str, None] = dataclasses.field(default_factory=dict)
    measures: Counter[str] = dataclasses.field(default_factory=Counter)
    """What attacks measured, summed over the perturbed images."""
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    perturbed: int = 0
    """How many images were perturbed."""
    seconds: Counter[str] = dataclasses.field(default_factory=Counter)
    """By kind of work."""
    failure: str | None = None

    @property
    def preprocessor(self) -> Preprocessor | None:
        """What its images go through before the network; None for nothing."""
        return None if self.preprocess == NONE else self.model.preprocessor

    def begin_block(self, block: np.ndarray) -> None:
        """Make room for the predictions of a block: those of the stage before, else none yet."""
        self.predictions.append(np.full(len(block), -1) if self.before is None else self.before[block].copy())

    def add_perturbed(self, result: Perturbed) -> None:
        """Note what came with perturbed images."""
        count = len(result.images)
        self.flags |= dict.fromkeys(result.flags)
        self.measures.update({name: value * count for name, value in result.measures.items()})
        self.perturbed += count

    def details(self) -> Details:
        """What is recorded beside the predictions."""
        return Details(
            seconds={name: round(value, 4) for name, value in self.seconds.items()},
            outcomes=dict(self.outcomes),
            flags=tuple(self.flags),
            measures={name: value / self.perturbed for name, value in self.measures.items()},
            trained=self.model.trained,
        )


def pending_cells(job: Job, setup: RunSetup) -> list[PendingCell]:
    """The cells of a job, nothing of them done yet: each model without and with its preprocessing.

    An adaptive attack is made for the model with its preprocessing, and scored so alone.
    """
    adaptive = job.condition.threat == "adaptive"
    return [
        PendingCell(planned=planned_cell(job, model, name, setup), model=model, preprocess=name)
        for model in job.models
        for name in ([] if adaptive else [NONE]) + [model.preprocessor.label]
    ]


def planned_cell(job: Job, model: DefendedModel, preprocess: str, setup: RunSetup) -> PlannedCell:
    """The cell of one model in a job, its images as they are or preprocessed."""
    condition, source = job.condition, job.transfer_source
    spec: dict[str, Any] = {
        "code": {"scoring": CODE_VERSION, "suite": suites.fingerprint(job.suite.label), **model.code},
        "data": data_digest(job.context.split),
        "weights": model.digest,
        "backbone": model.backbone,
        "defense": model.label,
        "seed": model.seed,
        "suite": job.suite.label,
        "condition": condition.name,
        "severity": condition.severity,
        "parameters": condition.parameters,
        "threat": condition.threat,
        "preprocess": preprocess,
    }
    if condition.after is not None:
        spec["after"] = condition.after.name
    if source is not None:
        spec["source"] = {"weights": source.digest, "seed": source.seed, "code": source.code}
    if model.defense.stochastic or (source is not None and source.defense.stochastic):
        spec["batch_size"] = setup.batch_size  # a stochastic model draws once a batch
    return PlannedCell(spec=spec, description=_description(job, model, preprocess, setup))


def _description(job: Job, model: DefendedModel, preprocess: str, setup: RunSetup) -> Description:
    condition, trained = job.condition, model.trained
    given, source = condition.parameters, job.transfer_source
    return Description(
        dataset=setup.dataset.name,
        family=setup.dataset.family or "",
        data=data_digest(job.context.split)[:16],
        backbone=model.backbone,
        defense=model.label,
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
        threat=condition.threat or "",
        attack=given.get("attack", ""),
        attack_parameters=given if condition.threat else {},
        stage=given.get("stage", ""),
        stage_index=condition.stage_index,
        stage_count=condition.stage_count,
        norm=given.get("norm", ""),
        epsilon=given.get("epsilon"),
        epsilon_space=given.get("epsilon_space", ""),
        gradient=given.get("gradient", ""),
        usual_gradient=given.get("gradient", "") in ("", model.preprocessor.surrogates[0]),
        draws=given.get("draws", 1),
        transfer_from="" if source is None else _source_label(source, model),
        preprocess=preprocess,
    )


def _source_label(source: DefendedModel, target: DefendedModel) -> str:
    """Whose examples a target is given; with its backbone where that is another."""
    return source.label if source.backbone in (target.backbone, ZOO) else f"{source.label} ({source.backbone})"


def data_digest(split: Split) -> str:
    """SHA-256 of the data set and of which of its images are taken."""
    return hashlib.sha256(split.digest.encode() + split.indices.astype("<i8").tobytes()).hexdigest()
