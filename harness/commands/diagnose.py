"""The command `diagnose`: whether attacks on a model can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.commands._options import FILE, FOLDER, load_plugins
from harness.registry import commands


@commands.register("diagnose")
@click.command()
@click.option(
    "--checkpoint",
    type=FILE,
    required=True,
    metavar="FILE|robustbench:NAME",
    help="The model; its own defense is taken.",
)
@click.option("--dataset", default="shapes", show_default=True, metavar="NAME", help="As for run.")
@click.option("--data-root", type=FOLDER, default=Path("data"), show_default=True, help="Where data sets lie.")
@click.option("--limit", type=int, default=100, show_default=True, help="Test images.")
@click.option("--epsilon", default="8/255", show_default=True, help="Radius (L∞) at which attacks are compared.")
@click.option("--epsilon-space", type=click.Choice(["pixel", "normalized"]), default="pixel", show_default=True)
@click.option("--preprocess", metavar="NAME", help="What test images go through, instead of the defense's own.")
@click.option("--gradient", default="", metavar="NAME", help="The way through it, instead of the usual one.")
@click.option("--steps", type=int, default=100, show_default=True, help="Of PGD with more effort.")
@click.option("--restarts", type=int, default=5, show_default=True, help="Of PGD with more effort.")
@click.option("--queries", type=int, default=1000, show_default=True, help="Of the black-box attack, for each image.")
@click.option("--transfer-from", type=FILE, help="Another checkpoint, to transfer attacks from.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda:0", help="Where to compute.")
@click.option("--plugin", type=FILE, multiple=True, help="A Python file that registers the model's defense.")
@click.option("--out", type=FOLDER, default=Path("runs/diagnose"), show_default=True, help="Output folder.")
def diagnose(**options: Any) -> int:
    """Check whether attacks on a defended model can be believed, or its gradient is masked.

    Prints pass or fail of every check with the figures behind it, and draws accuracy against ε for every attack.
    An interrupted call is repeated to go on.
    """
    from harness import config
    from harness.cache import default_cache
    from harness.evaluation.runner import run as run_all
    from reports.make import ReportOptions, make_report

    load_plugins(options.pop("plugin"))
    (radius,) = config.parse_epsilons(options.pop("epsilon"))[:1]
    chosen = {name: options.pop(name) for name in ("steps", "restarts", "queries", "gradient")}
    given = ",".join(f"{name}={value}" for name, value in chosen.items() if value != "")
    run_config = config.RunConfig(defenses=(), suites=(f"masking:{given}",), epsilons=(radius,), **options)
    outcome = run_all(run_config, default_cache())
    make_report([run_config.out], options=ReportOptions(tables=("masking",), figures=("masking",), page=False))
    return 1 if outcome.failed else 0
