"""A run to explain that takes no training: 16×16 images, untrained networks. Two test files share it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness.contracts.dataset import Dataset, SplitName, digest_of_arrays
from harness.explain.base import ExplainContext
from harness.models import checkpoints
from harness.models.build import Architecture, build
from harness.registry import defenses
from harness.types import Split

CLASSES = ("cat", "dog", "e$el")
SHAPE = (3, 16, 16)


class Tiny(Dataset):
    """Twelve pictures of three classes, coarse structure under noise."""

    name, classes = "tiny", CLASSES
    mean, std = (0.5,) * 3, (0.25,) * 3

    def load(self, split: SplitName) -> Split:
        rng = np.random.default_rng(0)
        coarse = rng.integers(40, 200, (12, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
        images = (coarse + rng.integers(-20, 20, coarse.shape)).astype(np.uint8)
        labels = np.arange(12) % 3
        return Split(images=images, labels=labels, indices=np.arange(12), digest=digest_of_arrays(images, labels))


def save_network(folder: Path, name: str, defense: str, *, weights: int = 0, **about: Any) -> Path:
    """An untrained network as a checkpoint of a run; `weights` seeds its weights."""
    known = {"defense": defense, "backbone": "resnet_small", "seed": 0, "recipe": {"epochs": 2}, "dataset": "tiny"}
    known |= {"classes": list(CLASSES), "image_shape": list(SHAPE)}
    model = build(Architecture.of("resnet_small", Tiny()), defenses.create(defense), seed=weights)
    path = folder / "checkpoints" / name
    checkpoints.save(path, model.state_dict(), known | about)
    return path


def make_run(folder: Path) -> Path:
    """Vanilla with its first epoch kept, and iterative training with two levels kept."""
    save_network(folder, "vanilla.pt", "vanilla", weights=1)
    save_network(folder, "vanilla.epoch=1.pt", "vanilla", weights=2, kept="epoch=1", epoch=1)
    save_network(folder, "iterative.pt", "virolbi_iterative", weights=3)
    save_network(folder, "iterative.level=0.3.pt", "virolbi_iterative", weights=4, kept="level=0.3", epoch=1)
    save_network(folder, "iterative.level=0.8.pt", "virolbi_iterative", weights=3, kept="level=0.8", epoch=2)
    return folder


def make_photographs(folder: Path) -> tuple[Path, ...]:
    """Two pictures, one of them with a flat half, whose path cannot reach a high level."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    noisy = rng.integers(0, 256, (40, 24, 3), dtype=np.uint8)
    flat = noisy.copy()
    flat[:22] = 90
    paths = (folder / "n01234567_sea_lion.png", folder / "flat.png")
    for path, values in zip(paths, (noisy, flat), strict=True):
        Image.fromarray(values).save(path)
    return paths


def explain_context(run: Path, **changes: Any) -> ExplainContext:
    """The context in which a run is explained."""
    return ExplainContext(**{"run": run, "device": torch.device("cpu"), "dataset": Tiny(), "limit": 8, **changes})
