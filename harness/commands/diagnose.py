"""The command `diagnose`: checks whether the attacks on a model are to be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.commands.options import FILE, FOLDER, load_plugins, normalization_option
from harness.registry import commands


@commands.register("diagnose")
@click.command()
@click.option(
    "--checkpoint",
    type=FILE,
    required=True,
    metavar="FILE|robustbench:NAME",
    help="The model; a checkpoint of ours names its --defense and --backbone.",
)
@click.option("--defense", metavar="NAME", help="The defense of weights from elsewhere; vanilla for none.")
@click.option("--backbone", metavar="NAME", help="Their network. Default: the usual one of the data set.")
@normalization_option
@click.option("--dataset", default="shapes", show_default=True, metavar="NAME", help="As for run.")
@click.option("--data-root", type=FOLDER, default=Path("data"), show_default=True, help="Folder of data sets.")
@click.option("--limit", type=int, default=100, show_default=True, help="At most this many test images.")
@click.option("--epsilon", default="8/255", show_default=True, help="Radius (L∞) at which attacks are compared.")
@click.option(
    "--epsilon-space",
    type=click.Choice(["pixel", "normalized"]),
    default="pixel",
    show_default=True,
    help="The space of ε.",
)
@click.option("--preprocess", metavar="NAME", help="Preprocess test images with this, instead of the defense's own.")
@click.option("--gradient", default="", metavar="NAME", help="Its surrogate gradient, instead of the usual one.")
@click.option("--steps", type=int, default=100, show_default=True, help="Steps of PGD with more effort.")
@click.option("--restarts", type=int, default=5, show_default=True, help="Restarts of PGD with more effort.")
@click.option(
    "--queries", type=int, default=1000, show_default=True, help="Queries of the black-box attack, per image."
)
@click.option("--transfer-from", type=FILE, help="Make transfer attacks on this checkpoint.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda:0", help="Where to compute.")
@click.option("--plugin", type=FILE, multiple=True, help="A Python file that registers the model's defense.")
@click.option("--out", type=FOLDER, default=Path("runs/diagnose"), show_default=True, help="Output folder.")
def diagnose(**options: Any) -> int:
    """Check whether attacks on a defended model are to be trusted, or fail because its gradient is masked.

    Prints for every check whether it passes and the numbers behind it, and draws accuracy against ε for every attack.
    After an interruption, the same command continues.
    """
    from harness import config
    from harness.cache import default_cache
    from harness.evaluation.runner import run as run_all
    from reports.make import ReportOptions, make_report

    load_plugins(options.pop("plugin"))
    radius = _radius(options.pop("epsilon"))
    parameters = {name: options.pop(name) for name in ("steps", "restarts", "queries", "gradient")}
    text = ",".join(f"{name}={value}" for name, value in parameters.items() if value != "")
    defense = options.pop("defense")
    options["defenses"] = None if defense is None else config.parse_names(defense)
    run_config = config.RunConfig(suites=(f"masking:{text}",), epsilons=(radius,), **options)
    outcome = run_all(run_config, default_cache())
    make_report([run_config.out], options=ReportOptions(tables=("masking",), figures=("masking",), page=False))
    return 1 if outcome.failed else 0


def _radius(text: str) -> float:
    """The radius of `--epsilon`. Raises: UserError for anything but one."""
    from harness.config import parse_epsilons
    from harness.errors import UserError

    radii = parse_epsilons(text, "--epsilon")
    if len(radii) != 1:
        raise UserError(f"--epsilon expects one radius such as 8/255, got {text!r}.")
    return radii[0]
