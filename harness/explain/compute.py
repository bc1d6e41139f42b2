"""Computes the exhibits that are missing from a run's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.cache import default_cache
from harness.config import pick_device
from harness.errors import UserError
from harness.progress import say, track
from harness.records.database import Records
from harness.records.exhibits import FOLDER, read_exhibit, save_exhibit
from harness.registry import datasets, exhibits

from .base import ExplainContext, Explanation
from .photographs import find_photographs

if TYPE_CHECKING:
    from harness.contracts.dataset import Dataset

MADE_FROM = "made_from"
"""The key of an exhibit's metadata that holds what it was computed from."""


class Explained(NamedTuple):
    """The outcome for each exhibit, by label."""

    made: tuple[str, ...]
    there: tuple[str, ...]
    """Made before, from the same images, weights and parameters."""
    missing: dict[str, str]
    """Why it cannot be made."""


def explain(
    run: Path,
    *,
    names: Sequence[str] | None = None,
    dataset: str | None = None,
    data_root: Path = Path("data"),
    images: Path | None = None,
    limit: int = 512,
    seed: int = 0,
    device: str = "auto",
) -> Explained:
    """Compute the exhibits of these names, by default all, and save them in RUN/exhibits.

    An exhibit that was made from the same images, weights and parameters stays as it is; one made from others is
    made again. The others are made even where one cannot be.

    Args:
        dataset: as for `run`; by default the one that the run's records name.
        images: a folder of photographs, or a single one.
        limit: test images that averages are taken over.
        seed: of the choice of test images.

    Raises: UserError for unknown names and for a run, folder or device that does not exist.
    """
    if not run.is_dir():
        raise UserError(f"expected the folder of a run, got none at {run}.")
    if limit < 1:
        raise UserError(f"--limit must be 1 or more test images, got {limit}.")
    explanations = [exhibits.create(name) for name in (exhibits.names() if names is None else names)]
    opened, reason = _open_dataset(run, dataset, data_root)
    context = ExplainContext(
        run=run,
        device=pick_device(device),
        dataset=opened,
        no_dataset=reason,
        photographs=find_photographs(images),
        limit=limit,
        seed=seed,
    )
    return complete(explanations, context)


def complete(explanations: Sequence[Explanation], context: ExplainContext) -> Explained:
    """Make the exhibits that are missing; return why others cannot be made."""
    made: list[str] = []
    there: list[str] = []
    missing: dict[str, str] = {}
    for explanation in track(explanations, "explain"):
        try:
            (made if _make(explanation, context) else there).append(explanation.label)
        except UserError as error:
            missing[explanation.label] = str(error)
    return Explained(tuple(made), tuple(there), missing)


def _make(explanation: Explanation, context: ExplainContext) -> bool:
    """Make and save an exhibit, unless it exists. Returns whether it was made now."""
    code = exhibits.fingerprint(explanation.label)
    sources = {"exhibit": explanation.label, "code": code, **explanation.sources(context)}
    sources = json.loads(json.dumps(sources))  # with lists for tuples, as they are read back
    if _is_there(context.run, explanation.name, sources):
        return False
    exhibit = explanation.compute(context)
    path = save_exhibit(context.run, exhibit._replace(metadata={**exhibit.metadata, MADE_FROM: sources}))
    say(f"exhibit: {path}")
    return True


def _is_there(run: Path, name: str, sources: dict[str, Any]) -> bool:
    """Whether the exhibit on disk was made from these sources; a file that cannot be read was not."""
    path = run / FOLDER / f"{name}.npz"
    try:
        return path.is_file() and read_exhibit(path).metadata.get(MADE_FROM) == sources
    except UserError:
        return False


def _open_dataset(run: Path, name: str | None, data_root: Path) -> tuple[Dataset | None, str]:
    """The data set called `name`, else the one that the run's records name; without either, None and the reason."""
    if name is not None:
        return datasets.create(name, data_root=data_root, cache=default_cache()), ""
    recorded = _recorded_datasets(run)
    if len(recorded) != 1:
        what = f"are of several data sets, {', '.join(recorded)}" if recorded else "name no data set"
        return None, f"the records in {run} {what}: give one with --dataset."
    try:
        return datasets.create(recorded[0], data_root=data_root, cache=default_cache()), ""
    except UserError:
        return None, f"the run's data set {recorded[0]} cannot be opened by that name alone: give --dataset as for run."


def _recorded_datasets(run: Path) -> list[str]:
    try:
        with Records.open(run) as records:
            return sorted(set(records.frame()["dataset"])) if len(records) else []
    except UserError:
        return []
