"""A model that this run trains; where its checkpoint is there already, it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.models import checkpoints
from harness.models.build import Architecture, build
from harness.models.defended import DefendedModel
from harness.progress import say
from harness.training.job import TrainingJob
from harness.training.loop import train
from harness.training.state import epoch_tag, kept_path

if TYPE_CHECKING:
    from harness.contracts.defense import Preprocessor


def trained_here(job: TrainingJob, architecture: Architecture, preprocessor: Preprocessor) -> DefendedModel:
    """The model of a training, trained or loaded. Raises: HarnessError when training diverges."""
    who = f"{job.defense.label} (seed {job.seed})"
    model = build(architecture, job.defense, seed=job.seed).to(job.device)
    if job.path.is_file():
        checkpoints.restore(model, checkpoints.load(job.path), job.path)
        say(f"{who}: trained already, loaded from {job.path}")
        _say_not_kept(job)
    else:
        say(f"{who}: training {job.recipe.epochs} epochs on {len(job.split)} images")
        train(model, job)
    return DefendedModel.of(
        model,
        label=job.defense.label,
        defense=job.defense,
        seed=job.seed,
        backbone=architecture.backbone,
        preprocessor=preprocessor,
        path=job.path,
        trained=job.metadata,
    )


def _say_not_kept(job: TrainingJob) -> None:
    missing = [epoch for epoch in job.keep_epochs if not kept_path(job.path, epoch_tag(epoch)).is_file()]
    if missing:
        epochs = ", ".join(map(str, missing))
        say(f"its epochs {epochs} were not kept: for --keep-epochs, train it again under another --out.")
