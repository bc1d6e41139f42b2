"""The command `train`: trains defenses and keeps their checkpoints."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import click

from harness.commands._options import run_config, training_options
from harness.registry import commands


@commands.register("train")
@click.command()
@training_options
def train(**options: Any) -> int:
    """Train defenses and keep their checkpoints, without scoring them. Prints the checkpoints' paths."""
    from harness.cache import default_cache
    from harness.evaluation.runner import open_workshop
    from harness.records.database import locked
    from harness.records.plan import Plan, note_plan

    config = run_config(options)
    workshop = open_workshop(config, default_cache())
    with contextlib.closing(workshop.observer), locked(config.out):
        pairs = workshop.pairs()
        note_plan(config.out, Plan(time.time(), workshop.planned_trainings(pairs)))
        for label, seed in pairs:
            click.echo(workshop.subject(label, seed).path)
    return 0
