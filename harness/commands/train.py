"""The command `train`: trains defenses and keeps their checkpoints."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from harness.commands.options import run_config, training_options
from harness.errors import UserError, reason_of
from harness.registry import commands

if TYPE_CHECKING:
    from harness.evaluation.setup import Candidate, RunSetup


@commands.register("train")
@click.command()
@training_options
def train(**options: Any) -> int:
    """Train defenses and keep their checkpoints, without scoring them. Prints the checkpoints' paths.

    A training that fails is named, and the others go on; the exit code is then 1.
    """
    from harness.cache import default_cache
    from harness.evaluation.planner import training_plan
    from harness.evaluation.setup import resolve
    from harness.evaluation.trial import try_out
    from harness.records.connection import locked
    from harness.records.plan import note_plan

    setup = resolve(run_config(options), default_cache())
    out = setup.config.out
    with contextlib.closing(setup.observer), locked(out):
        try_out(setup)
        note_plan(out, training_plan(setup))
        done = [_train(candidate, setup) for candidate in setup.candidates]
    return 0 if all(done) else 1


def _train(candidate: Candidate, setup: RunSetup) -> bool:
    """Train a defense and print its checkpoint's path; whether that went well. One that fails leaves the others be."""
    from harness.evaluation.obtain import obtain
    from harness.progress import say

    try:
        click.echo(obtain(candidate, setup).path)
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a defense may be anybody's, and leave by SystemExit
        say(f"failed: {candidate.label} (seed {candidate.seed}): {reason_of(error)}")
        return False
    return True
