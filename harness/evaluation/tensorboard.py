"""Training curves and sample images for TensorBoard, a folder per network under OUT/tensorboard."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from harness.errors import UserError
from harness.evaluation.observer import Observer
from harness.seeding import generator
from harness.training.images import augment

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from harness.evaluation.cells import PendingCell
    from harness.evaluation.jobs import Job
    from harness.training.job import TrainingJob
    from harness.types import TrainingState

FOLDER = "tensorboard"
SAMPLES = 16
"""Images that are written at a time."""
CONDITIONS = 3
"""Conditions of a suite whose images are written."""
POINTS = 50
"""At most this many losses of an epoch are written, evenly spaced; the epoch's mean is over all."""
JUDGED = 512
"""Training images on which accuracy is measured after an epoch, in evaluation mode, without augmentation."""


class TensorBoard(Observer):
    """Writes curves and images under `folder`.

    The step is the number of batches trained on. When a training continues after an interruption, what was written
    of the lost epoch is removed, so that no step is there twice.
    Raises: UserError where the package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer_class = _summary_writer()
        self._training: SummaryWriter | None = None
        self._scoring: dict[str, SummaryWriter] = {}
        self._conditions: dict[str, dict[str, None]] = {}
        self._samples: dict[str, dict[str, torch.Tensor]] = {}

    def begin(self, job: TrainingJob, first: int) -> None:
        """Open the training's folder and remove the curves of epochs that are trained again."""
        if self._training is not None:
            self._training.close()
        self._steps = len(job.batch_sizes)
        kept = first * self._steps
        self._training = self._open(job.path.stem, purge_step=kept + 1 if first else 0)
        self._shown: np.ndarray | None = None
        if not first:
            self._training.add_images("images/clean", _pictures(job.split.images), 0)

    def images(self, job: TrainingJob, images: np.ndarray, state: TrainingState) -> None:
        """Write the images of the epoch, plain and augmented, where they differ from the epoch before."""
        self._losses: list[torch.Tensor] = []
        self._rates: list[float] = []
        if images is not self._shown and self._training is not None:
            self._shown, step = images, state.epoch * self._steps + 1
            pictures = _pictures(images)
            self._training.add_images("images/trained_on", pictures, step)
            if job.recipe.augment:
                random = generator(job.seed, "sample images", state.epoch)
                self._training.add_images("images/augmented", augment(pictures, random), step)
        self._images, self._start = images, time.perf_counter()

    def batch(self, loss: torch.Tensor, rate: float) -> None:
        """Keep the loss, on its device so that a GPU need not wait."""
        self._losses.append(loss)
        self._rates.append(rate)

    def epoch(self, model: nn.Module, job: TrainingJob, state: TrainingState) -> None:
        """Write the curves of an epoch."""
        assert self._training is not None
        losses = torch.stack(self._losses).float().cpu()
        before, last = state.epoch * self._steps, (state.epoch + 1) * self._steps
        for place in range(0, len(losses), math.ceil(len(losses) / POINTS)):
            self._training.add_scalar("train/loss", losses[place].item(), before + place + 1)
            self._training.add_scalar("train/learning_rate", self._rates[place], before + place + 1)
        curves = {
            "number": state.epoch + 1,
            "seconds": time.perf_counter() - self._start,
            "loss": losses.mean().item(),
            "accuracy": _accuracy(model, self._images, job),
            **job.defense.curves(epoch=state.epoch, epochs=state.epochs),
        }
        for name, value in curves.items():
            self._training.add_scalar(f"epoch/{name}", value, last)
        self._training.flush()

    def scored(self, job: Job, cell: PendingCell, perturbed: torch.Tensor, preprocessed: torch.Tensor) -> None:
        """Keep the first images of a suite's first conditions until their cell is recorded."""
        conditions = self._conditions.setdefault(job.suite.label, {})
        condition, identity = job.condition, cell.planned.identity
        name = " ".join(map(str, filter(None, (condition.name, condition.severity, condition.threat))))
        if len(conditions) < CONDITIONS:
            conditions[name] = None
        if name in conditions and identity not in self._samples:
            plain = cell.preprocessor is None
            what, images = ("perturbed", perturbed) if plain else (cell.preprocess, preprocessed)
            self._samples[identity] = {f"{job.suite.label}/{name}/{what}": _for_display(images)}

    def recorded(self, cell: PendingCell) -> None:
        """Write a cell's images; a cell is recorded once, and so are they."""
        stem = cell.model.path.stem
        for tag, images in self._samples.pop(cell.planned.identity, {}).items():
            if stem not in self._scoring:
                self._scoring[stem] = self._open(f"{stem}/scoring")
            self._scoring[stem].add_images(tag, images, 0)
            self._scoring[stem].flush()

    def close(self) -> None:
        """Close all files."""
        for writer in (*([self._training] if self._training else []), *self._scoring.values()):
            writer.close()

    def _open(self, name: str, **options: Any) -> SummaryWriter:
        folder = self.folder / name.replace(":", "_")
        try:
            return self._writer_class(str(folder), **options)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror}. Choose another --out.") from error


def _summary_writer() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "--tensorboard needs the package tensorboard, which is not installed. "
            "Install it (python -m pip install tensorboard), or leave the option out."
        ) from error
    return SummaryWriter


def _pictures(images: np.ndarray) -> torch.Tensor:
    """The first images, [SAMPLES,C,H,W] in [0,1]."""
    return torch.from_numpy(np.array(images[:SAMPLES])).float().div(255)


def _for_display(images: torch.Tensor) -> torch.Tensor:
    """The first images, on the CPU, clamped to [0,1]."""
    return images[:SAMPLES].detach().float().clamp(0, 1).cpu().contiguous()


@torch.no_grad()
def _accuracy(model: nn.Module, images: np.ndarray, job: TrainingJob) -> float:
    """The network's accuracy on the first training images."""
    labels = torch.from_numpy(np.array(job.split.labels[:JUDGED]))
    model.eval()
    correct = 0
    for batch, true in zip(
        torch.from_numpy(np.array(images[:JUDGED])).split(job.recipe.batch_size),
        labels.split(job.recipe.batch_size),
        strict=True,
    ):
        logits = model(batch.to(job.device).float().div(255))
        correct += int((logits.argmax(1).cpu() == true).sum())
    model.train()
    return correct / len(labels)
