"""The explain command: computes the exhibits that are missing from a run's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.cache import default_cache
from harness.config import pick_device
from harness.errors import UserError
from harness.progress import say, track
from harness.records.database import Records
from harness.records.exhibits import FOLDER, read_exhibit, save_exhibit
from harness.registry import datasets, exhibits

from .base import Explanation, Material
from .photographs import find_photographs

MADE_FROM = "made_from"


class Explained(NamedTuple):
    """Names of exhibits: made now, there already, and those that could not be made with the reason."""

    made: tuple[str, ...]
    there: tuple[str, ...]
    missing: dict[str, str]


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
    """Compute the exhibits of these names, by default all, and keep them in RUN/exhibits.

    One that was made from the same images, weights and parameters is left as it is; one made from others is made anew.
    What cannot be made is named, and the rest is made all the same.

    dataset: as for `run`; by default the one the run's records name · images: a folder of photographs, or one ·
    limit: test images that averages are taken over · seed: of the choice of test images that are shown.
    Raises: UserError for unknown names and for a run, folder or device that is not there.
    """
    if not run.is_dir():
        raise UserError(f"expected the folder of a run, found none at {run}.")
    if limit < 1:
        raise UserError(f"--limit must be 1 or more test images, got {limit}.")
    makers = [exhibits.create(name) for name in (exhibits.names() if names is None else names)]
    opened, reason = _open(run, dataset, data_root)
    material = Material(
        run=run,
        device=pick_device(device),
        dataset=opened,
        no_dataset=reason,
        photographs=find_photographs(images),
        limit=limit,
        seed=seed,
    )
    return complete(makers, material)


def complete(makers: Sequence[Explanation], material: Material) -> Explained:
    """Make what is not there of these exhibits; a reason for each that cannot be made."""
    made: list[str] = []
    there: list[str] = []
    missing: dict[str, str] = {}
    for maker in track(makers, "explain"):
        try:
            (made if _make(maker, material) else there).append(maker.label)
        except UserError as error:
            missing[maker.label] = str(error)
    return Explained(tuple(made), tuple(there), missing)


def _make(maker: Explanation, material: Material) -> bool:
    """Make an exhibit and keep it, unless it is there. Returns: whether it was made now."""
    code = exhibits.fingerprint(maker.label)
    sources = json.loads(json.dumps({"exhibit": maker.label, "code": code, **maker.sources(material)}))
    if _there(material.run, maker.name, sources):
        return False
    exhibit = maker.compute(material)
    path = save_exhibit(material.run, exhibit._replace(about={**exhibit.about, MADE_FROM: sources}))
    say(f"exhibit: {path}")
    return True


def _there(run: Path, name: str, sources: dict[str, Any]) -> bool:
    """Whether the exhibit on disk was made from these; a file that cannot be read is not."""
    path = run / FOLDER / f"{name}.npz"
    try:
        return path.is_file() and read_exhibit(path).about.get(MADE_FROM) == sources
    except UserError:
        return False


def _open(run: Path, name: str | None, data_root: Path) -> tuple[Any, str]:
    """The data set, or None and why: that of the user's name, else the one that the run's records name."""
    if name is not None:
        return datasets.create(name, data_root=data_root, cache=default_cache()), ""
    named = _recorded(run)
    if len(named) != 1:
        shown = f"are of several data sets, {', '.join(named)}" if named else "name no data set"
        return None, f"the records in {run} {shown}: give one with --dataset."
    try:
        return datasets.create(named[0], data_root=data_root, cache=default_cache()), ""
    except UserError:
        return None, f"the run's data set {named[0]} cannot be opened by that name alone: give --dataset as for run."


def _recorded(run: Path) -> list[str]:
    try:
        with Records.open(run) as records:
            return sorted(set(records.frame()["dataset"])) if len(records) else []
    except UserError:
        return []
