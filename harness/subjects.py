"""From a defense's name to a trained model ready to be scored: build, then train or load."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness import checkpoints
from harness.cache import ArrayCache, digest_of
from harness.config import RunConfig, base_recipe, default_backbone
from harness.errors import UserError
from harness.models import NormalizedModel
from harness.progress import say
from harness.registry import backbones, defenses, preprocessors
from harness.seeding import derive
from harness.training import TRAINING_VERSION, TrainingJob, train
from harness.types import Recipe, Split

if TYPE_CHECKING:
    from datasets.base import Dataset
    from defenses.base import Defense, Preprocessor


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

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """[C,H,W] of the data set's images."""
        return tuple(self.dataset.test().images.shape[1:])

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
        """The run's defenses, each under its one label."""
        named = defenses.names() if self.config.defenses == ("all",) else self.config.defenses
        return list(dict.fromkeys(defenses.canonical(name, **self.smoothing) for name in named))

    def pairs(self) -> list[tuple[str, int]]:
        """Every defense at every seed, their names and parameters checked before anything long begins.

        Raises: UserError for any of them that cannot be built.
        """
        pairs = [(label, seed) for label in self.defense_labels() for seed in self.config.seeds]
        if self.config.checkpoint is not None and len(pairs) != 1:
            raise UserError(f"--checkpoint is for one defense and one seed, got {len(pairs)} of them.")
        for label in dict.fromkeys(label for label, _ in pairs):
            self._preprocessor(defenses.create(label))
        return pairs

    def subject(self, label: str, seed: int) -> Subject:
        """A defense at a seed, trained or loaded.

        Raises: UserError for a checkpoint that does not fit; HarnessError when training diverges.
        """
        return self._loaded(label, seed) if self.config.checkpoint else self._trained(label, seed)

    def _trained(self, label: str, seed: int) -> Subject:
        defense = defenses.create(label)
        recipe = self._recipe(defense)
        about = self.about(label, seed)
        path = (
            self.config.out / "checkpoints" / f"{_file_name(self.dataset.name, label, seed)}-{digest_of(about)[:8]}.pt"
        )
        model = build(defense, self.backbone, self.dataset, self.image_shape, seed).to(self.device)
        if path.is_file():
            checkpoints.restore(model, checkpoints.load(path), path)
            say(f"{label} (seed {seed}): trained already, loaded from {path}")
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
                ),
            )
        return self._subject(label, defense, seed, model, self.backbone, path, about)

    def _loaded(self, label: str, seed: int) -> Subject:
        assert self.config.checkpoint is not None
        path = self.config.checkpoint
        found = checkpoints.load(path)
        backbone = self.config.backbone or found.about.get("backbone") or self.backbone
        expected: dict[str, Any] = {
            "defense": label,
            "backbone": backbones.canonical(backbone),
            "classes": list(self.dataset.classes),
            "image_shape": list(self.image_shape),
        }
        if self.config.seeds != RunConfig.seeds:
            expected["seed"] = seed
        for key, value in expected.items():
            if found.about.get(key, value) != value:
                raise UserError(f"the checkpoint {path} is for {key} {found.about[key]}, this run is for {value}.")
        seed = found.about.get("seed", seed)
        defense = defenses.create(label)
        model = build(defense, backbone, self.dataset, self.image_shape, seed).to(self.device)
        checkpoints.restore(model, found, path)
        shown = f"{label}@{found.about['kept']}" if "kept" in found.about else label
        about = found.about or {"checkpoint": path.name}
        return self._subject(shown, defense, seed, model, backbones.canonical(backbone), path, about)

    def _subject(
        self,
        label: str,
        defense: Defense,
        seed: int,
        model: nn.Module,
        backbone: str,
        path: Path,
        about: dict[str, Any],
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
                "backbone": backbones.fingerprint(backbone),
                "defense": defenses.fingerprint(defense.label),
                "preprocess": preprocessors.fingerprint(preprocessor.label),
            },
        )

    def _preprocessor(self, defense: Defense) -> Preprocessor:
        usual = preprocessors.canonical("virolbi", **self.smoothing)
        return preprocessors.create(defense.preprocess(usual)).to(self.device)

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
            "recipe": dataclasses.asdict(recipe),
            "amp": self.config.amp,
            "data": self.training_split.digest,
            "images": len(self.training_split),
            "dataset": self.dataset.name,
            "classes": list(self.dataset.classes),
            "image_shape": list(self.image_shape),
        }


def build(defense: Defense, backbone: str, dataset: Dataset, image_shape: tuple[int, int, int], seed: int) -> nn.Module:
    """An untrained protected model; its initial weights follow from the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "initial weights"))
        network = backbones.create(backbone, classes=len(dataset.classes), image_shape=image_shape)
        mean, std = getattr(network, "normalization", (dataset.mean, dataset.std))
        model = defense.protect(NormalizedModel(network, mean, std))
    return model.to(memory_format=torch.channels_last)


def _file_name(dataset: str, label: str, seed: int) -> str:
    return re.sub(r"[^\w.=-]+", "_", f"{dataset}-{label}-seed{seed}")
