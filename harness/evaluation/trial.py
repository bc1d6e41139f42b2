"""Tries what a run will score on a few test images, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from harness.errors import UserError
from harness.evaluation.setup import RunSetup, Training
from harness.models.build import build
from harness.models.checks import check_model, check_preprocessor, check_training_mode
from harness.registry import defenses
from harness.training.job import TrainingJob
from harness.training.loop import takes_one_image

if TYPE_CHECKING:
    from harness.contracts.defense import Defense


def try_out(setup: RunSetup) -> None:
    """Try every defense's untrained model and its preprocessor. Raises: UserError for what they may not do."""
    for candidate in {candidate.label: candidate for candidate in setup.candidates}.values():
        if isinstance(candidate.source, Training):
            job, architecture = candidate.source
            _check_keep_epochs(job)
            defense = defenses.create(candidate.label)  # the candidate's own is left as it is for its training
            model = build(architecture, defense).to(setup.device)
            _check_images(job, model)
            try_model(candidate.label, defense, model, setup)
            check_training_mode(candidate.label, model, setup.probes, classes=len(architecture.classes))
        check_preprocessor(candidate.preprocessor, setup.probes)


def try_model(name: str, defense: Defense, model: nn.Module, setup: RunSetup) -> None:
    """Check a model by its logits of a few test images. Raises: UserError for what a model may not return."""
    check_model(
        name,
        model.to(setup.device).eval(),
        setup.probes,
        classes=len(setup.dataset.classes),
        stochastic=defense.stochastic,
        batch_size=setup.batch_size,
    )


def _check_images(job: TrainingJob, model: nn.Module) -> None:
    """Raises: UserError for no training image, or for a single one where batch norm needs two."""
    count = len(job.split)
    if count == 0 or (count == 1 and not takes_one_image(model, job)):
        raise UserError(f"{job.defense.label}: expected 2 or more training images, got {count}.")


def _check_keep_epochs(job: TrainingJob) -> None:
    last = max(job.keep_epochs, default=0)
    if last > job.recipe.epochs:
        raise UserError(
            f"--keep-epochs: {last} is beyond the {job.recipe.epochs} epochs trained ({job.defense.label}). "
            "Leave it out, or train longer with --epochs."
        )
