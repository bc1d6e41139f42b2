"""Attacks in stages: each attacks the images that are still classified correctly, and keeps the other predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import UserError
from harness.evaluation.cells import PendingCell, planned_cell
from harness.evaluation.jobs import Job
from harness.models.defended import DefendedModel
from harness.records.database import Records


def rows_left(job: Job, cells: Sequence[PendingCell], records: Records) -> np.ndarray:
    """Which of the split's images a job perturbs: [N] bool.

    For an attack's later stage those that the stage before left correct on the model under test, as the attacker saw
    it. Every cell is given its own predictions of the stage before; where there are none, it fails.
    """
    labels = job.context.split.labels
    if job.condition.after is None:
        return np.ones(len(labels), bool)
    before = job._replace(condition=job.condition.after)
    for cell in cells:
        cell.before = _predictions(before, cell.model, cell.preprocess, records)
        if cell.before is None:
            cell.failure = f"the stage before it, {before.condition.name}, was not scored"
    attacked = _predictions(before, job.models[0], job.attacked_through, records)  # later stages have one model
    if attacked is None:
        for cell in cells:
            cell.failure = f"the stage before it, {before.condition.name}, was not scored"
        return np.zeros(len(labels), bool)
    return attacked == labels


def _predictions(job: Job, model: DefendedModel, preprocess: str, records: Records) -> np.ndarray | None:
    """The recorded predictions of a cell, None where it is not recorded."""
    try:
        return records.predictions(planned_cell(job, model, preprocess).identity)
    except UserError:
        return None
