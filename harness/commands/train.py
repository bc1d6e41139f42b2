"""The command `train`: trains defenses and keeps their checkpoints."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from harness.commands.options import run_config, training_options
from harness.registry import commands


@commands.register("train")
@click.command()
@training_options
def train(**options: Any) -> int:
    """Train defenses and keep their checkpoints, without scoring them. Prints the checkpoints' paths."""
    from harness.cache import default_cache
    from harness.evaluation.obtain import obtain
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
        for candidate in setup.candidates:
            click.echo(obtain(candidate, setup).path)
    return 0
