"""What a run is made of: pieces, which share images, and the cells that are scored on them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.models.robustbench import SCHEME as ZOO
from harness.models.sources import Subject, Workshop
from harness.records.schema import NO_PREPROCESS, Description, PlannedCell
from harness.registry import attacks, defenses, preprocessors, suites
from harness.spec import Spec
from harness.suites.base import Suite, SuiteContext
from harness.types import Condition, Split

CODE_VERSION = 1
"""Part of every cell's identity; raised when scoring itself changes numbers."""


class Piece(NamedTuple):
    """One condition on the models that share its images; source: the model a transfer attack is made on."""

    suite: Suite
    condition: Condition
    context: SuiteContext
    subjects: list[Subject]
    source: Subject | None = None


@dataclasses.dataclass(kw_only=True, eq=False)
class Score:
    """A cell being scored: predictions come in block by block."""

    cell: PlannedCell
    subject: Subject
    preprocess: str
    before: np.ndarray | None = None
    """What the stage before came to: predictions [N], taken over for images that this one leaves alone."""
    predictions: list[np.ndarray] = dataclasses.field(default_factory=list)
    flags: dict[str, None] = dataclasses.field(default_factory=dict)
    measures: Counter[str] = dataclasses.field(default_factory=Counter)
    """What attacks measured, added up over the images."""
    disturbed: int = 0
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    failure: str | None = None

    def spend(self, what: str, seconds: float) -> None:
        """Count time towards this cell."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds


def scores_of(piece: Piece, workshop: Workshop) -> list[Score]:
    """What is scored on a piece, nothing of it done yet: each model without and with its preprocessing."""
    return [
        Score(cell=cell_of(piece, subject, name, workshop), subject=subject, preprocess=name)
        for subject in piece.subjects
        for name in ([] if piece.condition.threat == "adaptive" else [NO_PREPROCESS]) + [subject.preprocessor.label]
    ]


def cell_of(piece: Piece, subject: Subject, preprocess: str, workshop: Workshop) -> PlannedCell:
    """The cell of one model on a piece, its images as they are or preprocessed."""
    split, condition = piece.context.split, piece.condition
    spec = {
        "code": {"scoring": CODE_VERSION, "suite": suites.fingerprint(piece.suite.label), **subject.code},
        "data": _data_digest(split),
        "weights": subject.digest,
        "backbone": subject.backbone,
        "defense": subject.label,
        "seed": subject.seed,
        "suite": piece.suite.label,
        "condition": condition.name,
        "severity": condition.severity,
        "parameters": condition.parameters,
        "threat": condition.threat,
        "preprocess": preprocess,
    }
    if condition.after is not None:
        spec["after"] = condition.after.name
    if piece.source is not None:
        spec["source"] = {"weights": piece.source.digest, "seed": piece.source.seed, "code": piece.source.code}
    if subject.defense.stochastic or (piece.source is not None and piece.source.defense.stochastic):
        spec["batch_size"] = workshop.batch_size  # a stochastic model draws once a batch
    return PlannedCell(spec=spec, description=describe(piece, subject, preprocess, workshop))


def describe(piece: Piece, subject: Subject, preprocess: str, workshop: Workshop) -> Description:
    """What is known beforehand of the cell of one model on a piece."""
    condition, dataset, trained = piece.condition, workshop.dataset, subject.trained
    return Description(
        dataset=dataset.name,
        family=dataset.family or "",
        data=_data_digest(piece.context.split)[:16],
        backbone=subject.backbone,
        defense=subject.label,
        defense_parameters=defenses.parameters(subject.defense.label),
        seed=subject.seed,
        weights=subject.digest,
        preset=trained.get("preset", ""),
        epochs=trained.get("recipe", {}).get("epochs"),
        train_images=trained.get("images"),
        amp=trained.get("amp", False),
        altered=trained.get("altered", False),
        suite=piece.suite.label,
        purpose=piece.suite.purpose,
        condition=condition.name,
        severity=condition.severity,
        source=condition.source,
        **describe_attack(condition, subject.preprocessor.ways),
        transfer_from="" if piece.source is None else _source_label(piece.source, subject),
        preprocess=preprocess,
        preprocess_parameters={} if preprocess == NO_PREPROCESS else preprocessors.parameters(preprocess),
    )


_SEPARATE = ("attack", "stage", "norm", "epsilon", "epsilon_space", "draws", "gradient")
"""Parameters of an attacked condition that have fields of their own."""


def describe_attack(condition: Condition, surrogates: Sequence[str]) -> dict[str, Any]:
    """The fields of a description that say how the images were attacked, empty where nobody attacks.

    surrogates: the names of the preprocessor's surrogate gradients, the usual one first.
    """
    given, name = condition.parameters, condition.parameters.get("attack", "")
    gradient = given.get("gradient", "")
    return {
        "threat": condition.threat or "",
        "attack": name,
        "attack_parameters": {key: value for key, value in given.items() if key not in _SEPARATE} if name else {},
        **_describe_form(name, given.get("stage", "")),
        "norm": given.get("norm", ""),
        "epsilon": given.get("epsilon"),
        "epsilon_space": given.get("epsilon_space", ""),
        "gradient": gradient,
        "usual_gradient": gradient in ("", surrogates[0]),
        "draws": given.get("draws", 1),
    }


def _describe_form(name: str, stage: str) -> dict[str, Any]:
    """What an attack counts as, and the place of its stage; a suite's own attack, in no registry, has neither."""
    if Spec.parse(name or "none").name not in attacks.names():
        return {"counts_as": name, "stage": stage}
    attack = attacks.create(name)
    if not stage:
        return {"counts_as": attack.counts_as}
    place, count = attack.stages.index(stage), len(attack.stages)
    return {"counts_as": attack.counts_as, "stage": stage, "stage_index": place, "stage_count": count}


def _source_label(source: Subject, target: Subject) -> str:
    """Whose examples a target is shown; with its backbone where that is another."""
    return source.label if source.backbone in (target.backbone, ZOO) else f"{source.label} ({source.backbone})"


def _data_digest(split: Split) -> str:
    """SHA-256 of the data set and of which of its images are taken."""
    return hashlib.sha256(split.digest.encode() + split.indices.astype("<i8").tobytes()).hexdigest()
