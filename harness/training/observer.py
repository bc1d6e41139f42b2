"""Who looks on while networks are trained and scored; what they see changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from harness.evaluation.jobs import Piece, Score
    from harness.training.loop import TrainingJob
    from harness.types import TrainingState


class Observer:
    """Looks on and does nothing; `harness.tensorboard` has one that keeps what it sees."""

    def begin(self, job: TrainingJob, first: int) -> None:
        """A training begins or, after `first` epochs, goes on."""

    def images(self, job: TrainingJob, images: np.ndarray, state: TrainingState) -> None:
        """An epoch begins with these images, [N,C,H,W] uint8 before augmentation."""

    def batch(self, loss: torch.Tensor, rate: float) -> None:
        """A step was taken; loss: a scalar on the model's device · rate: the learning rate."""

    def epoch(self, model: nn.Module, job: TrainingJob, state: TrainingState) -> None:
        """An epoch is over and saved."""

    def scored(self, piece: Piece, score: Score, disturbed: torch.Tensor, shown: torch.Tensor) -> None:
        """Images [B,C,H,W] in [0,1] were scored: as the suite disturbed them, and as the network was shown them."""

    def recorded(self, score: Score) -> None:
        """A cell is in the records."""

    def close(self) -> None:
        """Nothing further comes."""
