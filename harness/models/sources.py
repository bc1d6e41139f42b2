"""From a defense's name to a trained model ready to be scored: build, then train or load."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from harness.cache import ArrayCache, digest_of
from harness.config import RunConfig, base_recipe, default_backbone
from harness.errors import HarnessError, UserError
from harness.models import checkpoints
from harness.models.checks import check_model, check_preprocessor
from harness.models.modules import ExternalModel, NormalizedModel
from harness.models.robustbench import SCHEME, ZooName, load_zoo_model, zoo_version
from harness.progress import say
from harness.records.plan import PlannedTraining
from harness.registry import backbones, defenses, preprocessors
from harness.seeding import derive
from harness.training.loop import TRAINING_VERSION, TrainingJob, epoch_tag, kept_path, train
from harness.training.observer import Observer
from harness.types import Recipe, Split

if TYPE_CHECKING:
    from harness.contracts.dataset import Dataset
    from harness.contracts.defense import Defense, Preprocessor


UNDEFENDED = "vanilla"
PROBES = 4
"""Test images that a model must answer before it is trained."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A defended model under test.

    label: the defense as tables show it · digest: of the weights · preprocessor: what its test images go through
    in the scores "with preprocessing" · path: of the checkpoint · trained: what that says of itself · code: versions of
    what computes its predictions.
    """

    label: str
    defense: Defense
    seed: int
    model: nn.Module
    digest: str
    backbone: str
    preprocessor: Preprocessor
    path: Path
    trained: dict[str, Any]
    code: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workshop:
    """What is needed to make subjects: the run's options, its data set, cache and device."""

    config: RunConfig
    dataset: Dataset
    cache: ArrayCache
    device: torch.device
    observer: Observer = dataclasses.field(default_factory=Observer)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """[C,H,W] of the data set's images."""
        return tuple(self.dataset.test().images.shape[1:])

    @property
    def batch_size(self) -> int:
        """Test images that a model is given at once."""
        return self.config.batch_size or 256

    @functools.cached_property
    def training_split(self) -> Split:
        """The training images taken."""
        return self.dataset.train().take(self.config.train_limit)

    @property
    def backbone(self) -> str:
        """The label of the run's backbone."""
        named = self.config.backbone or default_backbone(
            self.config.preset, self.config.dataset, max(self.image_shape[1:])
        )
        return backbones.canonical(named)

    @property
    def smoothing(self) -> dict[str, Any]:
        """Values that the command line gives to every ViRoLBI that does not set its own."""
        level = self.config.test_level(max(self.image_shape[1:]))
        given = {"nu": self.config.nu, "level": level, "scheme": self.config.scheme}
        return {name: value for name, value in given.items() if value is not None}

    def defense_labels(self) -> list[str]:
        """The run's defenses, each under its one label; without any named, the checkpoint's."""
        named = defenses.names() if self.config.defenses == ("all",) else self.config.defenses
        if not named and self.config.checkpoint is not None:
            return [self._held_defense(self.config.checkpoint, "Name it with --defense.")]
        return list(dict.fromkeys(defenses.canonical(name, **self.smoothing) for name in named))

    def pairs(self) -> list[tuple[str, int]]:
        """Every defense at every seed, their names and parameters checked before anything long begins.

        Raises: UserError for any of them that cannot be built.
        """
        pairs = [(label, seed) for label in self.defense_labels() for seed in self.config.seeds]
        if self.config.checkpoint is not None and len(pairs) != 1:
            raise UserError(f"--checkpoint is for one defense and one seed, got {len(pairs)} of them.")
        for label in dict.fromkeys(label for label, _ in pairs):
            self._check(defenses.create(label))
        return pairs

    def planned_trainings(self, pairs: Sequence[tuple[str, int]]) -> list[PlannedTraining]:
        """What is trained for these defenses and seeds, or was; none where a checkpoint is given."""
        if self.config.checkpoint is not None:
            return []
        return [
            PlannedTraining(
                f"{label} (seed {seed})",
                self.checkpoint_path(label, seed).relative_to(self.config.out).as_posix(),
                self._recipe(defenses.create(label)).epochs,
            )
            for label, seed in pairs
        ]

    def _check(self, defense: Defense) -> None:
        """Let the untrained model and the preprocessor answer a few images. Raises: UserError for what cannot be."""
        if self.config.checkpoint is None:
            self._check_keep_epochs(defense)
            self._check_model(defense.label, defense, self._untrained(defense, self.backbone, seed=0))
        check_preprocessor(self._preprocessor(defense).eval(), self._probes)

    def _check_keep_epochs(self, defense: Defense) -> None:
        epochs, last = self._recipe(defense).epochs, max(self.config.keep_epochs, default=0)
        if last > epochs:
            raise UserError(
                f"--keep-epochs: {last} is beyond the {epochs} epochs trained ({defense.label}). "
                "Leave it out, or train longer with --epochs."
            )

    def _check_model(self, name: str, defense: Defense, model: nn.Module) -> None:
        classes = len(self.dataset.classes)
        check_model(name, model.eval(), self._probes, classes=classes, stochastic=defense.stochastic)

    @property
    def _probes(self) -> torch.Tensor:
        images = np.array(self.dataset.test().images[:PROBES])  # a copy: what is mapped from disk cannot be written
        return torch.from_numpy(images).to(self.device).float().div(255)

    def ways(self, label: str) -> tuple[str, ...]:
        """The ways through what precedes a defense's network."""
        return self._preprocessor(defenses.create(label)).surrogates

    def subject(self, label: str, seed: int) -> Subject:
        """A defense at a seed, trained or loaded.

        Raises: UserError for a checkpoint that does not fit; HarnessError when training diverges, or comes to a model
        that answers as none may.
        """
        path = self.config.checkpoint
        if path is None:
            return self._trained(label, seed)
        zoo = ZooName.parse(str(path))
        return self._loaded(path, label, seed) if zoo is None else self._from_zoo(zoo, label)

    def transfer_source(self) -> Subject | None:
        """The model of `--transfer-from`, None where that is not given.

        Raises: UserError for a checkpoint that does not fit the data set or does not say which defense it holds.
        """
        path = self.config.transfer_from
        if path is None:
            return None
        zoo = ZooName.parse(str(path))
        if zoo is not None:
            return self._from_zoo(zoo, UNDEFENDED)
        held = self._held_defense(path, "--transfer-from takes those that `train` and `run` keep.")
        return self._loaded(path, held, checkpoints.load(path).about["seed"])

    def _held_defense(self, path: Path, advice: str) -> str:
        """The defense that a checkpoint holds. Raises: UserError with this advice when it does not say."""
        if ZooName.parse(str(path)) is not None:
            return UNDEFENDED
        about = checkpoints.load(path).about
        if "defense" not in about:
            raise UserError(f"the checkpoint {path} does not name its defense. {advice}")
        label: str = about["defense"]
        return label

    def _from_zoo(self, wanted: ZooName, label: str) -> Subject:
        """A model of RobustBench's zoo, as it comes, under its name there: no network that this harness trained."""
        defense = defenses.create(label)
        if label != UNDEFENDED:
            raise UserError(
                f"the models of RobustBench's zoo come trained and take no defense, got --defense {label}. "
                "Choose what goes in front of them with --preprocess."
            )
        network = load_zoo_model(wanted, self.dataset.family or self.dataset.name)
        model = ExternalModel(network, self.dataset.mean, self.dataset.std).to(self.device)
        self._check_model(wanted.label, defense, model)
        about = {"checkpoint": wanted.label, "preset": "zoo", "dataset": self.dataset.name}
        code = f"zoo {zoo_version()}"
        return self._subject(wanted.label, defense, 0, model, SCHEME, Path(wanted.label), about, code)

    def _trained(self, label: str, seed: int) -> Subject:
        defense = defenses.create(label)
        recipe = self._recipe(defense)
        about = self.about(label, seed)
        path = self.checkpoint_path(label, seed)
        model = self._untrained(defense, self.backbone, seed)
        if path.is_file():
            checkpoints.restore(model, checkpoints.load(path), path)
            say(f"{label} (seed {seed}): trained already, loaded from {path}")
            self._say_not_kept(path)
        else:
            say(f"{label} (seed {seed}): training {recipe.epochs} epochs on {len(self.training_split)} images")
            train(
                model,
                TrainingJob(
                    defense=defense,
                    recipe=recipe,
                    split=self.training_split,
                    seed=seed,
                    path=path,
                    about=about,
                    cache=self.cache,
                    device=self.device,
                    amp=self.config.amp,
                    keep_epochs=self.config.keep_epochs,
                    observer=self.observer,
                ),
            )
        try:
            self._check_model(label, defense, model)
        except UserError as error:  # what training came to is no mistake of the user's: the run goes on without it
            raise HarnessError(str(error)) from error
        return self._subject(label, defense, seed, model, self.backbone, path, about)

    def _say_not_kept(self, path: Path) -> None:
        gone = [epoch for epoch in self.config.keep_epochs if not kept_path(path, epoch_tag(epoch)).is_file()]
        if gone:
            shown = ", ".join(map(str, gone))
            say(f"its epochs {shown} were not kept: for --keep-epochs, train it again under another --out.")

    def checkpoint_path(self, label: str, seed: int) -> Path:
        """Where a training's checkpoint lies, or will lie."""
        name = f"{_file_name(self.dataset.name, label, seed)}-{digest_of(self.about(label, seed))[:8]}.pt"
        return self.config.out / "checkpoints" / name

    def _loaded(self, path: Path, label: str, seed: int) -> Subject:
        found = checkpoints.load(path)
        backbone = self.config.backbone or found.about.get("backbone") or self.backbone
        expected: dict[str, Any] = {
            "defense": label,
            "backbone": backbones.canonical(backbone),
            "classes": list(self.dataset.classes),
            "image_shape": list(self.image_shape),
        }
        if self.config.seeds != RunConfig.seeds and path == self.config.checkpoint:
            expected["seed"] = seed
        for key, value in expected.items():
            if found.about.get(key, value) != value:
                raise UserError(f"the checkpoint {path} is for {key} {found.about[key]}, this run is for {value}.")
        seed = found.about.get("seed", seed)
        defense = defenses.create(label)
        model = self._untrained(defense, backbone, seed)
        checkpoints.restore(model, found, path)
        self._check_model(label, defense, model)
        shown = f"{label}@{found.about['kept']}" if "kept" in found.about else label
        about = found.about or {"checkpoint": path.name}
        return self._subject(shown, defense, seed, model, backbones.canonical(backbone), path, about)

    def _untrained(self, defense: Defense, backbone: str, seed: int) -> nn.Module:
        dataset = self.dataset
        model = build(
            defense,
            backbone,
            classes=len(dataset.classes),
            normalization=(dataset.mean, dataset.std),
            image_shape=self.image_shape,
            seed=seed,
        )
        return model.to(self.device)

    def _subject(
        self,
        label: str,
        defense: Defense,
        seed: int,
        model: nn.Module,
        backbone: str,
        path: Path,
        about: dict[str, Any],
        backbone_code: str | None = None,
    ) -> Subject:
        preprocessor = self._preprocessor(defense)
        model.eval().requires_grad_(False)
        return Subject(
            label=label,
            defense=defense,
            seed=seed,
            model=model,
            digest=checkpoints.weights_digest(model),
            backbone=backbone,
            preprocessor=preprocessor.eval(),
            path=path,
            trained=about,
            code={
                "backbone": backbone_code or backbones.fingerprint(backbone),
                "defense": defenses.fingerprint(defense.label),
                "preprocess": preprocessors.fingerprint(preprocessor.label),
            },
        )

    def _preprocessor(self, defense: Defense) -> Preprocessor:
        usual = preprocessors.canonical("virolbi", **self.smoothing)
        asked = self.config.preprocess
        chosen = preprocessors.canonical(asked, **self.smoothing) if asked else defense.preprocess(usual)
        return preprocessors.create(chosen).to(self.device)

    def _preset_recipe(self, defense: Defense) -> Recipe:
        return defense.recipe(base_recipe(self.config.preset, self.backbone), self.config.preset)

    def _recipe(self, defense: Defense) -> Recipe:
        recipe = self._preset_recipe(defense)
        given: dict[str, Any] = {"epochs": self.config.epochs, "batch_size": self.config.batch_size}
        return dataclasses.replace(recipe, **{key: value for key, value in given.items() if value is not None})

    def about(self, label: str, seed: int) -> dict[str, Any]:
        """What a checkpoint of this training says of itself; its hash names the file."""
        defense = defenses.create(label)
        recipe = self._recipe(defense)
        return {
            "code": {
                "training": TRAINING_VERSION,
                "defense": defenses.fingerprint(label),
                "backbone": backbones.fingerprint(self.backbone),
            },
            "altered": recipe != self._preset_recipe(defense) or self.config.train_limit is not None,
            "defense": label,
            "backbone": self.backbone,
            "seed": seed,
            "preset": self.config.preset,
            "recipe": recipe.described(),
            "amp": self.config.amp,
            "data": self.training_split.digest,
            "images": len(self.training_split),
            "dataset": self.dataset.name,
            "classes": list(self.dataset.classes),
            "image_shape": list(self.image_shape),
        }


def build(
    defense: Defense,
    backbone: str,
    *,
    classes: int,
    normalization: tuple[Sequence[float], Sequence[float]],
    image_shape: tuple[int, ...],
    seed: int = 0,
) -> nn.Module:
    """An untrained protected model; its initial weights follow from the seed alone.

    normalization: mean and std per channel; a backbone that has its own keeps it.
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "initial weights"))
        network = backbones.create(backbone, classes=classes, image_shape=image_shape)
        model = defense.protect(NormalizedModel(network, *getattr(network, "normalization", normalization)))
    return model.to(memory_format=torch.channels_last)


def _file_name(dataset: str, label: str, seed: int) -> str:
    return re.sub(r"[^\w.=-]+", "_", f"{dataset}-{label}-seed{seed}")
