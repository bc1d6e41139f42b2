"""One training: what is trained, on what, by which recipe, and where the result goes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.cache import ArrayCache
from harness.training.observer import TrainingObserver
from harness.types import Recipe, Split

if TYPE_CHECKING:
    from harness.contracts.defense import Defense


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
    observer: TrainingObserver = dataclasses.field(default_factory=TrainingObserver)
