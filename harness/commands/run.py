"""The command `run`: trains or loads defenses, scores them and reports."""

from __future__ import annotations

from typing import Any

import click

from harness.commands.options import (
    FILE,
    normalization_option,
    printed_tables,
    run_config,
    tables_option,
    training_options,
)
from harness.registry import commands


@commands.register("run")
@click.command()
@training_options
@click.option(
    "--suite",
    metavar="A,B,…|all",
    help="clean, corruption, adversarial, low_resolution, frequency; default all of these. On request: masking.",
)
@click.option("--limit", type=int, help="At most this many test images.")
@click.option("--corruptions", default="", metavar="A,B,…|all", help="Default: the paper's three kinds of noise.")
@click.option(
    "--attacks",
    default="fgsm,pgd",
    show_default=True,
    metavar="A,B,…",
    help="Attacks, optionally with parameters: pgd:steps=50,restarts=5,loss=dlr, autoattack:version=plus.",
)
@click.option("--norm", type=click.Choice(["Linf", "L2"]), default="Linf", show_default=True, help="Norm of attacks.")
@click.option(
    "--epsilons", default="8/255,16/255", show_default=True, metavar="A,B,…", help="Radii of adversarial attacks."
)
@click.option(
    "--epsilon-space",
    type=click.Choice(["pixel", "normalized"]),
    default="pixel",
    show_default=True,
    help="The space of ε; the paper's is normalized (about four times smaller).",
)
@click.option(
    "--preprocess", metavar="NAME", help="Preprocess test images with this (see `list`), instead of the defense's own."
)
@click.option(
    "--transfer-from", type=FILE, metavar="FILE|robustbench:NAME", help="Make transfer attacks on this checkpoint."
)
@click.option(
    "--checkpoint",
    type=FILE,
    metavar="FILE|robustbench:NAME",
    help="Load these weights instead of training. Checkpoints made by train or run need no --defense.",
)
@normalization_option
@tables_option
def run(tables: str | None, **options: Any) -> int:
    """Train or load defenses, score them on suites of test images, and report.

    The summary is printed; every table, the figures and the page are written to OUT. The same command again continues
    from where it was interrupted, and another --defense or --suite adds to what is recorded.
    """
    from harness.cache import default_cache
    from harness.evaluation.runner import run as run_all
    from harness.progress import say
    from reports.make import ReportOptions, make_report

    plugins = options["plugin"]
    config = run_config(options)
    report = ReportOptions(printed=printed_tables(tables), plugins=plugins)
    outcome = run_all(config, default_cache())
    say(f"{outcome.evaluated} cells evaluated, {outcome.skipped} recorded before, {outcome.failed} failed")
    make_report([config.out], options=report)
    return 1 if outcome.failed else 0
