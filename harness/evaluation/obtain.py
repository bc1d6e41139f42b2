"""From a candidate to a defended model: train it, or load it."""

from __future__ import annotations

from harness.errors import HarnessError, UserError
from harness.evaluation.agreement import with_agreement
from harness.evaluation.setup import Candidate, Loading, RunSetup, Training
from harness.evaluation.trial import try_model
from harness.models.defended import DefendedModel
from harness.models.sources import from_checkpoint, from_zoo
from harness.training.trained import trained_here


def obtain(candidate: Candidate, setup: RunSetup) -> DefendedModel:
    """The defended model of a candidate.

    Raises: UserError for weights that do not fit; HarnessError when training diverges, or the trained model fails a
    check.
    """
    source, defense, preprocessor = candidate.source, candidate.defense, candidate.preprocessor
    if isinstance(source, Training):
        made = trained_here(source.job, source.architecture, preprocessor)
        try:
            try_model(made.label, defense, made.model, setup)
        except UserError as error:  # training spoiled the model, which is no mistake of the user's: the run continues
            raise HarnessError(str(error)) from error
        return made
    if isinstance(source, Loading):
        made = from_checkpoint(
            *source, defense=defense, seed=candidate.seed, preprocessor=preprocessor, device=setup.device
        )
        try_model(candidate.label, defense, made.model, setup)
        return made if source.checkpoint.metadata else with_agreement(made, setup)
    made = from_zoo(source, setup.dataset, defense=defense, preprocessor=preprocessor, device=setup.device)
    try_model(candidate.label, defense, made.model, setup)
    return made
