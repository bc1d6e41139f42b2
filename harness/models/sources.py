"""Defended models that come trained: from a checkpoint or from RobustBench's zoo. `training/trained.py` trains one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from harness.contracts.model import ExternalModel, NormalizedModel, inner_normalization
from harness.errors import UserError
from harness.models import checkpoints
from harness.models.build import Architecture, build, normalization_of
from harness.models.checkpoints import Checkpoint
from harness.models.defended import DefendedModel
from harness.models.normalization import shown
from harness.models.robustbench import SCHEME, ZooName, load_zoo_model, zoo_version
from harness.progress import say

if TYPE_CHECKING:
    from harness.contracts.dataset import Dataset
    from harness.contracts.defense import Defense, Preprocessor


def from_checkpoint(
    checkpoint: Checkpoint,
    path: Path,
    architecture: Architecture,
    *,
    defense: Defense,
    seed: int,
    preprocessor: Preprocessor,
    device: torch.device,
) -> DefendedModel:
    """The model whose weights a checkpoint holds. Raises: UserError for weights of another architecture."""
    metadata = checkpoint.metadata
    if checkpoint.others:
        others = ", ".join(checkpoint.others)
        say(f"{path}: took the weights under {checkpoint.place}; others are under {others}.")
    tag = f"@{metadata['kept']}" if "kept" in metadata else ""
    model = restored(checkpoint, path, architecture, defense, seed=seed)
    return DefendedModel.of(
        model.to(device),
        label=f"{defense.label}{tag}",
        defense=defense,
        seed=seed,
        backbone=architecture.backbone,
        preprocessor=preprocessor,
        path=path,
        trained=metadata or {"checkpoint": path.name, **_assumed(model, path, architecture)},
    )


def _assumed(model: nn.Module, path: Path, architecture: Architecture) -> dict[str, str]:
    """What is assumed of the normalisation of weights from elsewhere; nothing where the file holds it.

    Raises: UserError for one that the user asks for where the file has its own.
    """
    inner = inner_normalization(model)
    expected = normalization_of(inner.network, architecture)
    untouched = NormalizedModel(inner.network, expected.mean, expected.std)
    if torch.equal(inner.mean, untouched.mean) and torch.equal(inner.std, untouched.std):
        return {"normalization": str(expected)}
    if architecture.asked is not None:
        own = shown(*(tuple(values.flatten().tolist()) for values in (inner.mean, inner.std)))
        raise UserError(f"the weights in {path} bring {own} with them. Leave out --normalization.")
    return {}


def restored(
    checkpoint: Checkpoint, path: Path, architecture: Architecture, defense: Defense, *, seed: int = 0
) -> nn.Module:
    """A model with a checkpoint's weights in it. Raises: UserError for weights of another architecture."""
    model = build(architecture, defense, seed=seed)
    checkpoints.restore(model, checkpoint, path)
    return model


def from_zoo(
    name: ZooName, dataset: Dataset, *, defense: Defense, preprocessor: Preprocessor, device: torch.device
) -> DefendedModel:
    """A model of RobustBench's zoo, as it comes, under its name there.

    Raises: UserError for weights that cannot be downloaded, and a data set that the zoo has no models for.
    """
    network = load_zoo_model(name, dataset.family or dataset.name)
    return DefendedModel.of(
        ExternalModel(network, dataset.mean, dataset.std).to(device),
        label=name.label,
        defense=defense,
        seed=0,
        backbone=SCHEME,
        preprocessor=preprocessor,
        path=Path(name.label),
        trained={"checkpoint": name.label, "preset": "zoo", "dataset": dataset.name},
        backbone_code=f"zoo {zoo_version()}",
    )


def named_in(checkpoint: Checkpoint, path: Path, advice: str) -> str:
    """The label of the defense that a checkpoint holds. Raises: UserError, with this advice, where it does not say."""
    if "defense" not in checkpoint.metadata:
        raise UserError(f"the checkpoint {path} does not name its defense. {advice}")
    return str(checkpoint.metadata["defense"])
