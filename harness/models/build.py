"""How an untrained model is made: a backbone for some images and classes, protected by a defense."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.contracts.model import NormalizedModel
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

    @classmethod
    def of(cls, backbone: str, dataset: Dataset) -> Architecture:
        """A backbone for a data set's images. Raises: UserError for an unknown backbone."""
        return cls(
            backbone=backbones.canonical(backbone),
            classes=tuple(dataset.classes),
            image_shape=dataset.image_shape,
            mean=tuple(dataset.mean),
            std=tuple(dataset.std),
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
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "initial weights"))
        network = backbones.create(
            architecture.backbone, classes=len(architecture.classes), image_shape=architecture.image_shape
        )
        mean, std = getattr(network, "normalization", (architecture.mean, architecture.std))
        model = defense.protect(NormalizedModel(network, mean, std))
    return model.to(memory_format=torch.channels_last)
