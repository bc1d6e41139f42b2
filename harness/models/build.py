"""How an untrained model is made: a backbone for some images and classes, protected by a defense."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from harness.contracts.model import NormalizedModel, UnnormalizedModel
from harness.errors import UserError, anybodys_code
from harness.models.normalization import Normalization, parse_normalization
from harness.registry import backbones
from harness.seeding import derive

if TYPE_CHECKING:
    from harness.contracts.dataset import Dataset
    from harness.contracts.defense import Defense


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A backbone and what it is built for."""

    backbone: str
    """Its label."""
    classes: tuple[str, ...]
    """Their names, in the order of the logits."""
    image_shape: tuple[int, ...]
    """[C,H,W]."""
    mean: tuple[float, ...]
    """Per channel, of images in [0,1]; a backbone that has its own mean and std keeps them."""
    std: tuple[float, ...]
    asked: str | None = None
    """`none` or the mean and std that the user asks for, as `--normalization` has them; they come before all others."""

    @classmethod
    def of(cls, backbone: str, dataset: Dataset, normalization: str | None = None) -> Architecture:
        """A backbone for a data set's images. Raises: UserError for an unknown backbone, or a bad normalisation."""
        if normalization is not None:
            parse_normalization(normalization, dataset.image_shape[0])
        return cls(
            backbone=backbones.canonical(backbone),
            classes=tuple(dataset.classes),
            image_shape=dataset.image_shape,
            mean=tuple(dataset.mean),
            std=tuple(dataset.std),
            asked=normalization,
        )

    @classmethod
    def recorded(cls, metadata: Mapping[str, Any]) -> Architecture:
        """That of a checkpoint of ours, by what it says of itself. Mean and std are neutral: its weights hold them."""
        channels = metadata["image_shape"][0]
        return cls(
            backbone=metadata["backbone"],
            classes=tuple(metadata["classes"]),
            image_shape=tuple(metadata["image_shape"]),
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
        )


def build(architecture: Architecture, defense: Defense, *, seed: int = 0) -> nn.Module:
    """An untrained model under a defense: images [B,C,H,W] in [0,1] in, logits out.

    Its initial weights follow from the seed alone.
    Raises: UserError naming what a backbone or defense fails with, and for weights without numbers.
    """
    who = f"{defense.label} with the backbone {architecture.backbone}"
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "initial weights"))
        with anybodys_code(f"{who}: the model cannot be built"):
            model = _built(architecture, defense)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(value) or value.is_meta:
            raise UserError(f"{who}: {name} has no numbers yet. Give the network its weights when it is made.")
    return model.to(memory_format=torch.channels_last)


def _built(architecture: Architecture, defense: Defense) -> nn.Module:
    network = backbones.create(
        architecture.backbone, classes=len(architecture.classes), image_shape=architecture.image_shape
    )
    mean, std, _, applied = normalization_of(network, architecture)
    return defense.protect((NormalizedModel if applied else UnnormalizedModel)(network, mean, std))


def normalization_of(network: nn.Module, architecture: Architecture) -> Normalization:
    """The normalisation in front of a network: the one asked for, else the network's own, else the data set's.

    A network that normalises by itself says so with `normalization = None`.
    """
    mean, std = architecture.mean, architecture.std
    if architecture.asked is not None:
        asked = parse_normalization(architecture.asked, architecture.image_shape[0])
        mean, std = asked or (mean, std)
        return Normalization(mean, std, "as --normalization says", asked is not None)
    if not hasattr(network, "normalization"):
        return Normalization(mean, std, "the data set's", True)
    own: Any = network.normalization
    mean, std = own or (mean, std)
    return Normalization(mean, std, "as the backbone says", own is not None)
