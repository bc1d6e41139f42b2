"""What an observer of a run is told of training and scoring; it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.training.job import TrainingObserver

if TYPE_CHECKING:
    from harness.evaluation.cells import PendingCell
    from harness.evaluation.jobs import Job


class Observer(TrainingObserver):
    """An observer that does nothing; the one in `harness.evaluation.tensorboard` writes curves and images."""

    def scored(self, job: Job, cell: PendingCell, perturbed: torch.Tensor, preprocessed: torch.Tensor) -> None:
        """Images [B,C,H,W] were scored: as the suite perturbed them, and as the network was given them."""

    def recorded(self, cell: PendingCell) -> None:
        """A cell is in the records."""

    def close(self) -> None:
        """The run has ended."""
