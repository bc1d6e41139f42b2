"""Records that never were, described as a run describes them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from harness.errors import UserError
from harness.records.schema import Description, PlannedCell, Record
from harness.registry import Registry, attacks, defenses, preprocessors

CLEAN = {
    "dataset": "cifar10",
    "family": "cifar10",
    "backbone": "resnet18",
    "defense": "vanilla",
    "seed": 0,
    "suite": "clean",
    "condition": "clean",
    "preprocess": "none",
    "preset": "paper",
    "seconds": 1.0,
    "recorded_at": "2026-01-01T00:00:00+00:00",
}


def plan_cell(spec: dict[str, Any], **given: Any) -> PlannedCell:
    """A cell to be evaluated; what is not given is that of an undefended network on clean images."""
    about = {
        name: CLEAN[name] for name in ("dataset", "backbone", "defense", "seed", "suite", "condition", "preprocess")
    }
    return PlannedCell(spec=spec, description=Description(**{**about, **given}))


def make_record(identity: str, correct: np.ndarray, **given: Any) -> Record:
    """A record of these outcomes [N] bool; what is not given is that of an undefended network on clean images.

    What follows from the names of an attack, a defense and a preprocessor is filled in as a run does.
    """
    fields = {**CLEAN, **given}
    described = {
        "defense_parameters": _parameters(defenses, fields["defense"]),
        "preprocess_parameters": _parameters(preprocessors, fields["preprocess"]),
        "usual_gradient": fields.get("gradient", "") in ("", "exact", "bpda"),
        **_attack(fields.get("attack", ""), fields.get("stage", "")),
    }
    if fields["suite"].partition(":")[0] == "masking":
        described["purpose"] = "diagnostic"
    outcomes = {"n_images": len(correct), "n_correct": int(correct.sum()), "outcome_bits": np.packbits(correct)}
    return Record(identity=identity, **{**described, **outcomes, **fields})


@functools.cache
def _parameters(kind: Registry, label: str) -> dict[str, Any]:
    """All parameters of a registered thing; none of what a test made up."""
    try:
        return kind.parameters(label)
    except UserError:
        return {}


@functools.cache
def _attack(label: str, stage: str) -> dict[str, Any]:
    try:
        attack = attacks.create(label)
    except UserError:
        return {}
    described = {"attack_parameters": attack.parameters(), "counts_as": attack.counts_as}
    if stage:
        described |= {"stage_index": attack.stages.index(stage), "stage_count": len(attack.stages)}
    return described
