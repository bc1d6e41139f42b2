"""Attacks in stages: each attacks the images that are still classified correctly, and keeps the other predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import UserError
from harness.evaluation.cells import PendingCell, planned_cell
from harness.evaluation.jobs import Job
from harness.records.database import Records


def rows_left(job: Job, cells: Sequence[PendingCell], records: Records) -> np.ndarray:
    """Which of the split's images a job perturbs: [N] bool.

    For a later stage of an attack these are the images that were still correct after the stage before, on the model as
    the attacker saw it. Each cell gets its own predictions of that stage; a cell without them fails.
    """
    labels = job.context.split.labels
    if job.condition.after is None or job.attacked is None:
        return np.ones(len(labels), bool)
    before = job._replace(condition=job.condition.after)
    for cell in cells:
        try:
            cell.before = records.predictions(planned_cell(before, cell.model, cell.preprocess).identity)
        except UserError:
            cell.failure = f"the stage before it, {before.condition.name}, was not scored"
    try:
        seen = planned_cell(before, job.attacked, job.attacked_through)
        return records.predictions(seen.identity) == labels
    except UserError:
        for cell in cells:
            cell.failure = f"the stage before it, {before.condition.name}, was not scored"
        return np.zeros(len(labels), bool)
