"""The commands. Nothing heavy is imported until a command needs it, so that help comes at once."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from harness import __version__
from harness.bench.cli import bench
from harness.errors import HarnessError, UserError
from harness.explain.cli import explain
from harness.options import DEFAULT_OUT, FILE, FOLDER, SCHEMES
from harness.reporting import Contents, make_report, report
from harness.watch import watch


def main() -> None:
    """Entry point: exit code 0 when all went well, 1 for a failed cell, 2 for a user's mistake."""
    try:
        code = commands(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HarnessError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what is done is kept, and the same command goes on from there.", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="virolbi-harness")
def commands() -> None:
    """A robustness benchmark for image classifiers with pluggable defenses.

    Start with:  python -m harness run --defense virolbi_iterative --suite all
    """


commands.add_command(bench)
commands.add_command(explain)
commands.add_command(report)
commands.add_command(watch)


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        from harness.config import read_toml

        multiple = {str(p.name): p.multiple for p in context.command.params if isinstance(p, click.Option)}
        multiple.pop("config")
        found = read_toml(path, list(multiple))
        context.default_map = {key: _as_given(value, multiple[key]) for key, value in found.items()}
    return path


def _as_given(value: Any, multiple: bool) -> Any:
    """A value of a file as it would stand on the command line: lists joined, unless the option may be repeated."""
    if multiple:
        return value if isinstance(value, list) else [value]
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda inner, option: option(inner), reversed(options), command)

    return decorate


training_options = _options(
    click.option(
        "--config",
        type=FILE,
        is_eager=True,
        callback=_read_config,
        help="Options from a TOML file; those given here win.",
    ),
    click.option(
        "--defense",
        default="virolbi_iterative",
        show_default=True,
        metavar="A,B,…|all",
        help="Defenses, with parameters where wanted: virolbi_fixed:nu=16,level=0.5.",
    ),
    click.option(
        "--dataset",
        default="shapes",
        show_default=True,
        metavar="NAME",
        help="shapes, cifar10, cifar100, parquet:DIR, imagefolder:DIR, imagenet100.",
    ),
    click.option(
        "--data-root",
        type=FOLDER,
        default=Path("data"),
        show_default=True,
        help="Where data sets and official corruption files lie.",
    ),
    click.option("--backbone", metavar="NAME", help="Network; by default the one usual for the data set."),
    click.option("--seed", default="0", show_default=True, metavar="0,1,…", help="Seeds; several give mean ± std."),
    click.option(
        "--preset",
        type=click.Choice(["quick", "paper"]),
        default="quick",
        show_default=True,
        help="Length of training and number of test images.",
    ),
    click.option("--epochs", type=int, help="Training epochs instead of the preset's."),
    click.option("--train-limit", type=int, help="At most this many training images."),
    click.option(
        "--keep-epochs", default="", metavar="1,6,…", help="Keep the checkpoints of these epochs, for figures."
    ),
    click.option("--batch-size", type=int, help="Images a batch, in training and scoring."),
    click.option(
        "--level",
        type=float,
        help="Sparsity level of smoothing; larger keeps more detail. Default 0.6, above 64 pixels 0.3.",
    ),
    click.option("--nu", type=float, help="Coupling ν of smoothing; larger lets large scales in first. Default 1."),
    click.option(
        "--scheme",
        type=click.Choice(SCHEMES),
        help="How smoothing iterates; fast is the same to a fraction of a grey level. Default paper.",
    ),
    click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda:0", help="Where to compute."),
    click.option(
        "--amp/--no-amp", default=False, help="Train in bfloat16 mixed precision (faster on recent hardware)."
    ),
    click.option(
        "--tensorboard", is_flag=True, help="Training curves and sample images for TensorBoard, in OUT/tensorboard."
    ),
    click.option("--plugin", type=FILE, multiple=True, help="A Python file that registers defenses or others."),
    click.option("--out", type=FOLDER, default=DEFAULT_OUT, show_default=True, help="Output folder."),
)


@commands.command()
@training_options
@click.option(
    "--suite",
    default="all",
    show_default=True,
    metavar="A,B,…|all",
    help="clean, corruption, adversarial, low_resolution, frequency.",
)
@click.option("--limit", type=int, help="At most this many test images.")
@click.option("--corruptions", default="", metavar="A,B,…|all", help="Default: the paper's three kinds of noise.")
@click.option(
    "--attacks",
    default="fgsm,pgd",
    show_default=True,
    metavar="A,B,…",
    help="Attacks, with parameters where wanted: pgd:steps=50,restarts=5,loss=dlr, autoattack:version=plus.",
)
@click.option("--norm", type=click.Choice(["Linf", "L2"]), default="Linf", show_default=True, help="Norm of attacks.")
@click.option("--epsilons", default="8/255,16/255", show_default=True, help="Radii of adversarial attacks.")
@click.option(
    "--epsilon-space",
    type=click.Choice(["pixel", "normalized"]),
    default="pixel",
    show_default=True,
    help="Where ε is measured; the paper's is normalized (about four times smaller).",
)
@click.option("--preprocess", metavar="NAME", help="What test images go through, instead of the defense's own.")
@click.option("--transfer-from", type=FILE, help="The checkpoint that transfer attacks are made on.")
@click.option(
    "--checkpoint",
    type=FILE,
    metavar="FILE|robustbench:NAME",
    help="Weights to load instead of training; of a file of ours, --defense is what it holds.",
)
def run(**options: Any) -> int:
    """Train or load defenses, take them through suites, and print the paper's tables."""
    from harness.cache import default_cache
    from harness.progress import say
    from harness.runner import run as run_all

    config = _config(options)
    outcome = run_all(config, default_cache())
    say(f"{outcome.evaluated} cells evaluated, {outcome.skipped} recorded before, {outcome.failed} failed")
    make_report([config.out])
    return 1 if outcome.failed else 0


@commands.command()
@training_options
def train(**options: Any) -> int:
    """Train defenses and keep their checkpoints, without scoring them."""
    from harness.cache import default_cache
    from harness.plan import Plan, note_plan
    from harness.records import locked
    from harness.runner import open_workshop

    config = _config(options)
    workshop = open_workshop(config, default_cache())
    with contextlib.closing(workshop.observer), locked(config.out):
        pairs = workshop.pairs()
        note_plan(config.out, Plan(time.time(), workshop.planned_trainings(pairs)))
        for label, seed in pairs:
            click.echo(workshop.subject(label, seed).path)
    return 0


@commands.command()
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
    from harness.registry import load_plugin
    from harness.runner import run as run_all

    for path in options.pop("plugin"):
        load_plugin(path)
    (radius,) = config.parse_epsilons(options.pop("epsilon"))[:1]
    chosen = {name: options.pop(name) for name in ("steps", "restarts", "queries", "gradient")}
    given = ",".join(f"{name}={value}" for name, value in chosen.items() if value != "")
    run_config = config.RunConfig(defenses=(), suites=(f"masking:{given}",), epsilons=(radius,), **options)
    outcome = run_all(run_config, default_cache())
    make_report([run_config.out], contents=Contents(tables=("masking",), figures=("masking",), page=False))
    return 1 if outcome.failed else 0


@commands.command("list")
@click.argument("what", metavar="[KIND|NAME]", default="")
@click.option("--plugin", type=FILE, multiple=True, help="A Python file that registers further names.")
def list_(what: str, plugin: tuple[Path, ...]) -> int:
    """Show every name, those of one KIND, or all about one NAME: what it does and its parameters.

    Kinds: defenses, preprocessors, suites, datasets, backbones, attacks, corruptions, tables, figures, exhibits.
    """
    from harness.listing import print_names
    from harness.registry import load_plugin

    for path in plugin:
        load_plugin(path)
    print_names(what)
    return 0


@commands.command()
@click.argument("run_folder", metavar="[RUN]", required=False, type=FOLDER)
@click.option("--out", type=FOLDER, default=DEFAULT_OUT, show_default=True, help="The folder given to run.")
@click.option("--format", "kind", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--to", type=FILE, help="File to write; default RUN/cells.csv or RUN/cells.parquet.")
def export(run_folder: Path | None, out: Path, kind: str, to: Path | None) -> int:
    """Write a run's records as one tidy row per cell."""
    from harness.records import Records

    folder = run_folder or out
    target = to or folder / f"cells.{kind}"
    with Records.open(folder) as records:
        frame = records.frame()
    try:
        frame.to_csv(target, index=False) if kind == "csv" else frame.to_parquet(target, index=False)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}.") from error
    click.echo(target)
    return 0


@commands.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--level", type=float, help="Sparsity level; larger keeps more detail. Default 0.6.")
@click.option("--nu", type=float, default=1.0, show_default=True, help="Coupling; larger lets large scales in first.")
@click.option(
    "--scheme",
    type=click.Choice(SCHEMES),
    default="paper",
    show_default=True,
    help="fast: the same to a fraction of a grey level, several times as fast.",
)
@click.option("--iterations", type=int, help="Stop after so many iterations instead of at a level.")
@click.option("--overwrite", is_flag=True, help="Replace OUT where IN is a single picture and OUT is there already.")
def smooth(source: Path, target: Path, overwrite: bool, **options: Any) -> int:
    """Smooth one picture, or every picture of a folder; size and file format are kept.

    Pictures with a palette and CMYK ones become RGB. A large photograph takes seconds, a minute with a large ν; the
    paper takes level 0.3 for photographs, and --scheme fast is faster. A folder's pictures are worked on beside each
    other, on as many cores as PyTorch uses (OMP_NUM_THREADS sets it). The same command goes on where an earlier one was
    interrupted. The first call on a machine compiles for half a minute.
    """
    from harness.packages import load_package
    from harness.pictures import smooth_pictures

    smoother = load_package("defenses.virolbi").InverseScaleSmoothing(**options)
    return smooth_pictures(source, target, smoother, overwrite=overwrite)


def _config(options: dict[str, Any]) -> Any:
    """The run's configuration from the command line's texts; plugins are loaded on the way."""
    from harness import config
    from harness.registry import load_plugin

    for path in options.pop("plugin"):
        load_plugin(path)
    options.pop("config")
    defense, seed = options.pop("defense"), options.pop("seed")
    if options.get("checkpoint") and _is_default("defense"):
        defense = ""  # the checkpoint says what it holds
    for plural, singular in (("suites", "suite"), ("corruptions", "corruptions"), ("attacks", "attacks")):
        if singular in options:
            options[plural] = config.parse_names(options.pop(singular))
    if "epsilons" in options:
        options["epsilons"] = config.parse_epsilons(options["epsilons"])
    options["keep_epochs"] = config.parse_numbers(options["keep_epochs"], "--keep-epochs")
    options["seeds"] = config.parse_numbers(seed, "--seed")
    return config.RunConfig(defenses=config.parse_names(defense), **options)


def _is_default(option: str) -> bool:
    """Whether the user left an option of the present command out."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.DEFAULT
