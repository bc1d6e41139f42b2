"""Who looks on while a network is trained; what they see changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from harness.types import TrainingState

if TYPE_CHECKING:
    from harness.training.job import TrainingJob


class TrainingObserver:
    """Looks on and does nothing."""

    def begin(self, job: TrainingJob, first: int) -> None:
        """A training begins or, after `first` epochs, goes on."""

    def images(self, job: TrainingJob, images: np.ndarray, state: TrainingState) -> None:
        """An epoch begins with these images, [N,C,H,W] uint8 before augmentation."""

    def batch(self, loss: torch.Tensor, rate: float) -> None:
        """A step was taken; loss: a scalar on the model's device; rate: the learning rate."""

    def epoch(self, model: nn.Module, job: TrainingJob, state: TrainingState) -> None:
        """An epoch is over and saved."""
