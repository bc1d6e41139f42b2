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

if TYPE_CHECKING:
    from harness.contracts.defense import Defense


def try_out(setup: RunSetup) -> None:
    """Try every defense's untrained model and its preprocessor. Raises: UserError for what they may not do."""
    for candidate in {candidate.label: candidate for candidate in setup.candidates}.values():
        if isinstance(candidate.source, Training):
            job, architecture = candidate.source
            _check_keep_epochs(job)
            defense = defenses.create(candidate.label)  # the candidate's own is left as it is for its training
            model = build(architecture, defense)
            try_model(candidate.label, defense, model, setup)
            check_training_mode(candidate.label, model, setup.probes, classes=len(architecture.classes))
        check_preprocessor(candidate.preprocessor, setup.probes)


def try_model(name: str, defense: Defense, model: nn.Module, setup: RunSetup) -> None:
    """Check a model by its logits of a few test images. Raises: UserError for what a model may not return."""
    classes = len(setup.dataset.classes)
    check_model(name, model.to(setup.device).eval(), setup.probes, classes=classes, stochastic=defense.stochastic)


def _check_keep_epochs(job: TrainingJob) -> None:
    last = max(job.keep_epochs, default=0)
    if last > job.recipe.epochs:
        raise UserError(
            f"--keep-epochs: {last} is beyond the {job.recipe.epochs} epochs trained ({job.defense.label}). "
            "Leave it out, or train longer with --epochs."
        )
