"""The cells of a job: what identifies each, and what is collected while it is scored."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from harness.contracts.defense import Preprocessor
from harness.evaluation.describe import describe
from harness.evaluation.jobs import Job, data_digest
from harness.models.defended import DefendedModel
from harness.records.schema import NO_PREPROCESS, Details, PlannedCell
from harness.registry import suites
from harness.suites.base import Perturbed

CODE_VERSION = 1
"""Part of every cell's identity; raised when scoring itself changes numbers."""


@dataclasses.dataclass(kw_only=True, eq=False)
class PendingCell:
    """A cell that is being scored: predictions come in block by block."""

    planned: PlannedCell
    model: DefendedModel
    preprocess: str
    before: np.ndarray | None = None
    """The predictions [N] of the attack's stage before, kept for the images that this stage leaves alone."""
    predictions: list[np.ndarray] = dataclasses.field(default_factory=list)
    """Of each block [B]."""
    flags: dict[str, None] = dataclasses.field(default_factory=dict)
    """What attacks warned of, each once, in order."""
    measures: Counter[str] = dataclasses.field(default_factory=Counter)
    """What attacks measured, summed over the perturbed images."""
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    """How preprocessing ended, in numbers of images."""
    perturbed: int = 0
    """How many images were perturbed."""
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    """By kind of work."""
    failure: str | None = None
    """Why it failed, in one line."""

    @property
    def preprocessor(self) -> Preprocessor | None:
        """What preprocesses its images; None where the network is given them as they are."""
        return None if self.preprocess == NO_PREPROCESS else self.model.preprocessor

    def begin_block(self, block: np.ndarray) -> None:
        """Begin a block with the predictions of the stage before, or with −1 where there is none."""
        self.predictions.append(np.full(len(block), -1) if self.before is None else self.before[block].copy())

    def add_perturbed(self, result: Perturbed) -> None:
        """Add the flags and measures that came with perturbed images."""
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


def cells_of(job: Job) -> list[PendingCell]:
    """All cells of a job, recorded or not: each model without and with its preprocessing.

    An adaptive attack is made through the preprocessing, and scored with it alone.
    """
    adaptive = job.condition.threat == "adaptive"
    return [
        PendingCell(planned=planned_cell(job, model, name), model=model, preprocess=name)
        for model in job.models
        for name in ([] if adaptive else [NO_PREPROCESS]) + [model.preprocessor.label]
    ]


def planned_cell(job: Job, model: DefendedModel, preprocess: str) -> PlannedCell:
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
        spec["batch_size"] = job.context.batch_size  # a stochastic model draws once a batch
    return PlannedCell(spec=spec, description=describe(job, model, preprocess))
