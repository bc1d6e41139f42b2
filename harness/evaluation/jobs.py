"""What a run is made of: pieces, which share images, and the cells that are scored on them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from harness.models.robustbench import SCHEME as ZOO
from harness.models.sources import Subject, Workshop
from harness.records.database import Cell
from harness.registry import suites
from harness.suites.base import Suite, SuiteContext
from harness.types import Condition, Split

CODE_VERSION = 1
"""Part of every cell's identity; raised when scoring itself changes numbers."""
NONE = "none"


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

    cell: Cell
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
        for name in ([] if piece.condition.threat == "adaptive" else [NONE]) + [subject.preprocessor.label]
    ]


def cell_of(piece: Piece, subject: Subject, preprocess: str, workshop: Workshop) -> Cell:
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
    return Cell(spec=spec, shown=_shown(piece, subject, preprocess, workshop))


def _shown(piece: Piece, subject: Subject, preprocess: str, workshop: Workshop) -> dict[str, Any]:
    condition, dataset, trained = piece.condition, workshop.dataset, subject.trained
    return {
        "dataset": dataset.name,
        "family": dataset.family,
        "backbone": subject.backbone,
        "defense": subject.label,
        "seed": subject.seed,
        "suite": piece.suite.label,
        "condition": condition.name,
        "severity": condition.severity,
        "threat": condition.threat or "",
        "preprocess": preprocess,
        "attack": condition.parameters.get("attack", ""),
        "norm": condition.parameters.get("norm", ""),
        "epsilon": condition.parameters.get("epsilon"),
        "epsilon_space": condition.parameters.get("epsilon_space", ""),
        "source": condition.source,
        "preset": trained.get("preset", ""),
        "epochs": trained.get("recipe", {}).get("epochs"),
        "train_images": trained.get("images"),
        "amp": trained.get("amp", False),
        "altered": trained.get("altered", False),
        "gradient": condition.parameters.get("gradient", ""),
        "stage": condition.parameters.get("stage", ""),
        "transfer_from": "" if piece.source is None else _source_label(piece.source, subject),
        "draws": condition.parameters.get("draws", 1),
        "data": _data_digest(piece.context.split)[:16],
        "weights": subject.digest,
    }


def _source_label(source: Subject, target: Subject) -> str:
    """Whose examples a target is shown; with its backbone where that is another."""
    return source.label if source.backbone in (target.backbone, ZOO) else f"{source.label} ({source.backbone})"


def _data_digest(split: Split) -> str:
    """SHA-256 of the data set and of which of its images are taken."""
    return hashlib.sha256(split.digest.encode() + split.indices.astype("<i8").tobytes()).hexdigest()
