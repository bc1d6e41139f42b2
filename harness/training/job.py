"""One training: what is trained, on what, by which recipe, where the result goes, and who looks on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from harness.cache import ArrayCache
from harness.types import Recipe, Split, TrainingState

if TYPE_CHECKING:
    from harness.contracts.defense import Defense


class TrainingObserver:
    """Looks on while a network is trained, and does nothing; what an observer sees changes nothing."""

    def begin(self, job: TrainingJob, first: int) -> None:
        """A training begins or, after `first` epochs, continues."""

    def images(self, job: TrainingJob, images: np.ndarray, state: TrainingState) -> None:
        """An epoch begins with these images, [N,C,H,W] uint8 before augmentation."""

    def batch(self, loss: torch.Tensor, rate: float) -> None:
        """A step was taken; loss: a scalar on the model's device; rate: the learning rate."""

    def epoch(self, model: nn.Module, job: TrainingJob, state: TrainingState) -> None:
        """An epoch is over and saved."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What to train and where to keep it."""

    defense: Defense
    recipe: Recipe
    split: Split
    """The training images taken."""
    seed: int
    path: Path
    """Of the checkpoint to be written."""
    metadata: dict[str, Any]
    """What the checkpoint says of itself, plain values. An interrupted training of other content is not continued."""
    cache: ArrayCache
    device: torch.device
    amp: bool = False
    """Whether to train in bfloat16 mixed precision."""
    keep_epochs: tuple[int, ...] = ()
    """After which epochs, counted from 1, a checkpoint is kept, beside those that the defense keeps."""
    least: int = 1
    """How many images a batch needs: 2 where batch norm cannot normalise a single one."""
    observer: TrainingObserver = dataclasses.field(default_factory=TrainingObserver)

    @property
    def batch_sizes(self) -> list[int]:
        """How many images each batch of an epoch has; a last one of too few joins the one before."""
        count, usual = len(self.split), self.recipe.batch_size
        sizes = [min(usual, count - start) for start in range(0, count, usual)]
        return [*sizes[:-2], sum(sizes[-2:])] if sizes[-1] < self.least else sizes
