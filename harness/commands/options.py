"""Options that several commands share; imports nothing heavy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from harness.config import RunConfig

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
DEFAULT_OUT = Path("runs/default")
SCHEMES = ("paper", "exact", "fast")
"""The schemes of smoothing, named here so that help need not import them."""


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        from harness.config import read_toml

        multiple = {str(p.name): p.multiple for p in context.command.params if isinstance(p, click.Option)}
        multiple.pop("config")
        options = read_toml(path, list(multiple))
        context.default_map = {name: _as_typed(value, multiple[name]) for name, value in options.items()}
    return path


def _as_typed(value: Any, multiple: bool) -> Any:
    """A value of a file as it is typed on the command line: a list with commas, unless the option may be repeated."""
    if multiple:
        return value if isinstance(value, list) else [value]
    return ",".join(map(str, value)) if isinstance(value, list) else value


def grouped(*options: Callable[..., Any]) -> Callable[..., Any]:
    """One decorator of several options, which help shows in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda inner, option: option(inner), reversed(options), command)

    return decorate


training_options = grouped(
    click.option(
        "--config",
        type=FILE,
        is_eager=True,
        callback=_read_config,
        help="Options from a TOML file; those on the command line win.",
    ),
    click.option(
        "--defense",
        metavar="A,B,…|all",
        help="Defenses, optionally with parameters: virolbi_fixed:nu=16,level=0.5. Default: virolbi_iterative.",
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
        help="Folder of data sets and official corruption files.",
    ),
    click.option("--backbone", metavar="NAME", help="Network. Default: the usual one of the data set."),
    click.option("--seed", metavar="0,1,…", help="Seeds; several give mean ± std. Default: 0."),
    click.option(
        "--preset",
        type=click.Choice(["quick", "paper"]),
        default="quick",
        show_default=True,
        help="Length of training and number of test images.",
    ),
    click.option("--epochs", type=int, help="Training epochs, instead of the preset's."),
    click.option("--train-limit", type=int, help="At most this many training images."),
    click.option(
        "--keep-epochs", default="", metavar="1,6,…", help="Keep the checkpoints of these epochs, for figures."
    ),
    click.option("--batch-size", type=int, help="Images in a batch, in training and scoring."),
    click.option(
        "--level",
        type=float,
        help="Sparsity level of smoothing; larger keeps more detail. Default 0.6, above 64 pixels 0.3.",
    ),
    click.option("--nu", type=float, help="Coupling ν of smoothing; larger lets large scales in first. Default 1."),
    click.option(
        "--scheme",
        type=click.Choice(SCHEMES),
        help="How smoothing iterates; fast differs by a fraction of a grey level. Default paper.",
    ),
    click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda:0", help="Where to compute."),
    click.option(
        "--amp/--no-amp", default=False, help="Train in bfloat16 mixed precision (faster on recent hardware)."
    ),
    click.option("--tensorboard", is_flag=True, help="Write training curves and sample images to OUT/tensorboard."),
    click.option("--plugin", type=FILE, multiple=True, help="A Python file that registers defenses or others."),
    click.option("--out", type=FOLDER, default=DEFAULT_OUT, show_default=True, help="Output folder."),
)


normalization_option = click.option(
    "--normalization",
    metavar="none|MEAN/STD",
    help="Normalisation that weights from elsewhere were trained with, of images in [0,1]: "
    "0.485,0.456,0.406/0.229,0.224,0.225. Default: the backbone's own, else the data set's.",
)


tables_option = click.option(
    "--tables",
    metavar="A,B,…|all",
    help="Print these tables instead of the summary. Every table is written to a file all the same.",
)


def printed_tables(text: str | None) -> list[str] | Literal["all"] | None:
    """The value of `--tables`: names, all, or None where it was not given."""
    from harness.spec import split_list

    return "all" if text == "all" else split_list(text) if text else None


def load_plugins(paths: Iterable[Path]) -> None:
    """Import the files that `--plugin` names."""
    from harness.registry import load_plugin

    for path in paths:
        load_plugin(path)


def run_config(options: dict[str, Any]) -> RunConfig:
    """The run's configuration from the options as they were typed; loads the plugins first."""
    from harness import config

    load_plugins(options.pop("plugin"))
    options.pop("config")
    for field, option in (
        ("defenses", "defense"),
        ("suites", "suite"),
        ("corruptions", "corruptions"),
        ("attacks", "attacks"),
    ):
        text = options.pop(option, None)
        if text is not None:
            options[field] = config.parse_names(text)
    if "epsilons" in options:
        options["epsilons"] = config.parse_epsilons(options["epsilons"])
    options["keep_epochs"] = config.parse_numbers(options["keep_epochs"], "--keep-epochs")
    seed = options.pop("seed")
    return config.RunConfig(seeds=None if seed is None else config.parse_numbers(seed, "--seed"), **options)
