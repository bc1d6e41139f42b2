"""What a run is about to do, noted beside its records for those who watch it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.errors import UserError
from harness.files import read_json, replacing

FILE_NAME = "plan.json"


class PlannedTraining(NamedTuple):
    """A network that is trained unless its checkpoint, a path in the output folder, is there."""

    what: str
    checkpoint: str
    epochs: int


class PlannedJob(NamedTuple):
    """Cells that are scored together, by their identities."""

    what: str
    cells: tuple[str, ...]


class Plan(NamedTuple):
    """What a run will do."""

    started: float
    """When the run began, in seconds since 1970."""
    trainings: Sequence[PlannedTraining]
    jobs: Sequence[PlannedJob] | None = None
    """In the order they are scored; None before the networks are trained."""


def note_plan(folder: Path, plan: Plan) -> None:
    """Write OUT/plan.json, whole or not at all. Raises: UserError when it cannot be written."""
    path = Path(folder) / FILE_NAME
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(plan._asdict()) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}. Choose another --out.") from error


def read_plan(folder: Path) -> Plan | None:
    """The plan of the run that last wrote to a folder; None where there is none, or none that can be read."""
    try:
        noted = read_json(Path(folder) / FILE_NAME)
        jobs = noted["jobs"]
        return Plan(
            float(noted["started"]),
            tuple(PlannedTraining(*each) for each in noted["trainings"]),
            None if jobs is None else tuple(PlannedJob(what, tuple(cells)) for what, cells in jobs),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
