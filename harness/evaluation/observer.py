"""Who looks on while networks are trained and scored; what they see changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.training.job import TrainingObserver

if TYPE_CHECKING:
    from harness.evaluation.cells import PendingCell
    from harness.evaluation.jobs import Job


class Observer(TrainingObserver):
    """Looks on and does nothing; `harness.evaluation.tensorboard` has one that keeps what it sees."""

    def scored(self, job: Job, cell: PendingCell, perturbed: torch.Tensor, preprocessed: torch.Tensor) -> None:
        """Images [B,C,H,W] were scored: as the suite perturbed them, and as the network was given them."""

    def recorded(self, cell: PendingCell) -> None:
        """A cell is in the records."""

    def close(self) -> None:
        """Nothing further comes."""
