"""From a run's options to a `RunSetup`: defaults filled in and everything checked before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from harness.cache import ArrayCache, digest_of
from harness.config import (
    DEFAULT_DEFENSES,
    DEFAULT_SUITES,
    PREPROCESSOR,
    UNDEFENDED,
    RunConfig,
    pick_device,
    usual_level,
)
from harness.errors import UserError
from harness.evaluation.observer import Observer
from harness.files import file_name
from harness.models import checkpoints
from harness.models.build import Architecture
from harness.models.robustbench import ZooName
from harness.models.sources import named_in
from harness.registry import backbones, datasets, defenses, preprocessors, suites
from harness.training.job import TrainingJob
from harness.training.loop import TRAINING_VERSION
from harness.training.recipes import usual_recipe
from harness.types import Split

if TYPE_CHECKING:
    from harness.contracts.dataset import Dataset
    from harness.contracts.defense import Defense, Preprocessor
    from harness.suites.base import Suite

BATCH_SIZE = 256
"""Test images that a model is given at once, unless the user says otherwise."""
PROBES = 4
"""Test images that a model is checked with."""


class Training(NamedTuple):
    """A model that this run trains, unless its checkpoint is there already."""

    job: TrainingJob
    architecture: Architecture


class Loading(NamedTuple):
    """A model is loaded from a file."""

    checkpoint: checkpoints.Checkpoint
    path: Path
    architecture: Architecture


class Candidate(NamedTuple):
    """A defended model that is to be scored, before it is trained or loaded."""

    label: str
    seed: int
    defense: Defense
    preprocessor: Preprocessor
    source: Training | Loading | ZooName


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSetup:
    """A run's options, resolved and checked; nothing is trained yet."""

    config: RunConfig
    dataset: Dataset
    cache: ArrayCache
    device: torch.device
    observer: Observer
    smoothing: Mapping[str, Any]
    """The values that the run gives to every ViRoLBI that does not set its own."""
    suites: tuple[Suite, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    """What is scored: every defense at every seed."""
    transfer: Candidate | None = None
    """What `--transfer-from` names."""

    @property
    def batch_size(self) -> int:
        """Test images that a model is given at once."""
        return self.config.batch_size or BATCH_SIZE

    @property
    def probes(self) -> torch.Tensor:
        """A few test images [B,C,H,W] in [0,1] to check models with, on the run's device."""
        images = np.array(self.dataset.test().images[:PROBES])  # a copy: what is mapped from disk cannot be written
        return torch.from_numpy(images).to(self.device).float().div(255)


def resolve(config: RunConfig, cache: ArrayCache) -> RunSetup:
    """Resolve a run's options; no model is built. `trial.try_out` tries what it comes to.

    Raises: UserError for anything that is wrong in them.
    """
    dataset = datasets.create(config.dataset, data_root=config.data_root, cache=cache)
    level = config.level or usual_level(max(dataset.image_shape[1:]))
    smoothing = {"nu": config.nu, "level": level, "scheme": config.scheme}
    setup = RunSetup(
        config=config,
        dataset=dataset,
        cache=cache,
        device=pick_device(config.device),
        observer=_observer(config),
        smoothing={name: value for name, value in smoothing.items() if value is not None},
        suites=tuple(suites.create(name) for name in _suite_names(config)),
    )
    return dataclasses.replace(setup, transfer=_transfer(setup), candidates=tuple(_candidates(setup)))


def _observer(config: RunConfig) -> Observer:
    if not config.tensorboard:
        return Observer()
    from harness.evaluation.tensorboard import FOLDER, TensorBoard

    return TensorBoard(config.out / FOLDER)


def _suite_names(config: RunConfig) -> list[str]:
    if config.suites not in (None, ("all",)):
        return [suites.canonical(name) for name in config.suites or ()]
    others = [entry.name for entry in suites if entry.name not in DEFAULT_SUITES]
    return [*DEFAULT_SUITES, *(name for name in others if getattr(suites.entry(name).factory, "in_all", True))]


def _candidates(setup: RunSetup) -> list[Candidate]:
    """Every defense at every seed. Raises: UserError for several where a checkpoint holds one."""
    config = setup.config
    labels = _defense_labels(setup)
    if config.checkpoint is None:
        if config.normalization is not None:
            raise UserError(
                "--normalization is for weights from elsewhere, given with --checkpoint FILE. Leave it out."
            )
        return _to_be_trained(labels or list(DEFAULT_DEFENSES), setup)
    seeds = config.seeds or (0,)
    count = max(len(labels), 1) * len(seeds)
    if count != 1:
        raise UserError(f"--checkpoint is for one defense and one seed, got {count} of them.")
    label = labels[0] if labels else None
    zoo = ZooName.parse(str(config.checkpoint))
    if zoo is not None:
        if config.normalization is not None:
            raise UserError("the models of RobustBench's zoo normalise by themselves. Leave out --normalization.")
        return [_of_zoo(zoo, label or UNDEFENDED, setup)]
    seed = None if config.seeds is None else seeds[0]
    advice = f"Name it with --defense, {UNDEFENDED} for none."
    asked, path = config.normalization, Path(config.checkpoint)
    return [_of_file(path, setup, label=label, seed=seed, normalization=asked, advice=advice)]


def _transfer(setup: RunSetup) -> Candidate | None:
    """The model of `--transfer-from`. Raises: UserError where it does not fit the run or does not name its defense."""
    source = setup.config.transfer_from
    if source is None:
        return None
    zoo = ZooName.parse(str(source))
    if zoo is not None:
        return _of_zoo(zoo, UNDEFENDED, setup)
    return _of_file(Path(source), setup, advice="--transfer-from takes those that `train` and `run` keep.")


def _defense_labels(setup: RunSetup) -> list[str]:
    """The defenses that the user named, each under its one label."""
    named = setup.config.defenses or ()
    names = defenses.names() if named == ("all",) else named
    return list(dict.fromkeys(defenses.canonical(name, **setup.smoothing) for name in names))


def _of_zoo(name: ZooName, label: str, setup: RunSetup) -> Candidate:
    if label != UNDEFENDED:
        raise UserError(
            f"the models of RobustBench's zoo come trained and take no defense, got --defense {label}. "
            "Choose what goes in front of them with --preprocess."
        )
    defense = defenses.create(label)
    return Candidate(name.label, 0, defense, _preprocessor(defense, setup), name)


def _of_file(
    path: Path,
    setup: RunSetup,
    *,
    label: str | None = None,
    seed: int | None = None,
    normalization: str | None = None,
    advice: str,
) -> Candidate:
    """The model of a checkpoint; without a label, of the defense that the checkpoint names.

    Raises: UserError with this advice where it names none, and for a checkpoint of another data set or backbone, or a
    normalisation asked for where the checkpoint holds its own.
    """
    checkpoint = checkpoints.load(path)
    metadata, dataset = checkpoint.metadata, setup.dataset
    if normalization is not None and metadata:
        raise UserError(f"the checkpoint {path} holds its own normalisation. Leave out --normalization.")
    label = label or named_in(checkpoint, path, advice)
    backbone = setup.config.backbone or metadata.get("backbone") or dataset.usual_backbone(setup.config.preset)
    architecture = Architecture.of(backbone, dataset, normalization)
    expected = {
        "defense": label,
        "backbone": architecture.backbone,
        "classes": list(architecture.classes),
        "image_shape": list(architecture.image_shape),
        "seed": seed,
    }
    for key, value in expected.items():
        if value is not None and metadata.get(key, value) != value:
            raise UserError(f"the checkpoint {path} is for {key} {metadata[key]}, this run is for {value}.")
    defense = defenses.create(label)
    source = Loading(checkpoint, path, architecture)
    return Candidate(label, metadata.get("seed", seed or 0), defense, _preprocessor(defense, setup), source)


def _to_be_trained(labels: list[str], setup: RunSetup) -> list[Candidate]:
    """Every defense at every seed, each with a `Defense` of its own: what one keeps on itself reaches no other."""
    config, dataset = setup.config, setup.dataset
    architecture = Architecture.of(config.backbone or dataset.usual_backbone(config.preset), dataset)
    split = dataset.train().take(config.train_limit)
    candidates = []
    for label in labels:
        for seed in config.seeds or (0,):
            defense: Defense = defenses.create(defenses.canonical(label, **setup.smoothing))
            source = Training(_training_job(defense, seed, split, architecture, setup), architecture)
            candidates.append(Candidate(defense.label, seed, defense, _preprocessor(defense, setup), source))
    return candidates


def _training_job(
    defense: Defense, seed: int, split: Split, architecture: Architecture, setup: RunSetup
) -> TrainingJob:
    config = setup.config
    usual = defense.recipe(usual_recipe(config.preset, architecture.backbone), config.preset)
    options: dict[str, Any] = {"epochs": config.epochs, "batch_size": config.batch_size}
    recipe = dataclasses.replace(usual, **{name: value for name, value in options.items() if value is not None})
    metadata = {
        "code": {
            "training": TRAINING_VERSION,
            "defense": defenses.fingerprint(defense.label),
            "backbone": backbones.fingerprint(architecture.backbone),
        },
        "altered": recipe != usual or config.train_limit is not None,
        "defense": defense.label,
        "backbone": architecture.backbone,
        "seed": seed,
        "preset": config.preset,
        "recipe": recipe.described(),
        "amp": config.amp,
        "data": split.digest,
        "images": len(split),
        "dataset": setup.dataset.name,
        "classes": list(architecture.classes),
        "image_shape": list(architecture.image_shape),
    }
    name = file_name(f"{setup.dataset.name}-{defense.label}-seed{seed}", "_")
    return TrainingJob(
        defense=defense,
        recipe=recipe,
        split=split,
        seed=seed,
        path=config.out / "checkpoints" / f"{name}-{digest_of(metadata)[:8]}.pt",
        metadata=metadata,
        cache=setup.cache,
        device=setup.device,
        amp=config.amp,
        keep_epochs=config.keep_epochs,
        observer=setup.observer,
    )


def _preprocessor(defense: Defense, setup: RunSetup) -> Preprocessor:
    """The preprocessor of test images: the one that the user asks for, else the defense's own."""
    asked = setup.config.preprocess
    usual = preprocessors.canonical(asked or PREPROCESSOR, **setup.smoothing)
    preprocessor: Preprocessor = preprocessors.create(usual if asked else defense.preprocess(usual))
    return preprocessor.to(setup.device).eval()
