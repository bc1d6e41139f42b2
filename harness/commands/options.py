"""Options that several commands share; imports nothing heavy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.config import RunConfig


class UserPath(click.Path):
    """A path as a user types it: `~` is the home folder, in a configuration file too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Fails for one that no file system has."""
        try:
            path = Path(value).expanduser()
        except (RuntimeError, TypeError) as error:
            self.fail(f"{value!r} cannot be resolved: {error}", param, ctx)
        if "\0" in str(path):
            self.fail(f"{value!r} holds a NUL, which no path may.", param, ctx)
        return super().convert(path, param, ctx)


FOLDER = UserPath(path_type=Path, file_okay=False)
FILE = UserPath(path_type=Path, dir_okay=False)
DEFAULT_OUT = Path("runs/default")
SCHEMES = ("paper", "exact", "fast")
"""The schemes of smoothing, named here so that help need not import them."""


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        from harness.config import read_toml

        known = {str(p.name): p for p in context.command.params if isinstance(p, click.Option)}
        known.pop("config")
        options = read_toml(path, list(known))
        context.default_map = {name: _as_typed(value, known[name], path) for name, value in options.items()}
    return path


def _as_typed(value: Any, option: click.Option, path: Path) -> Any:
    """A value of a file as it is typed on the command line: a list with commas, unless the option may be repeated.

    Raises: UserError for a value of another type than the option's.
    """
    several = value if isinstance(value, list) else [value]
    expected = _types_of(option)
    if any(type(each) not in expected for each in several) or (isinstance(value, list) and str not in expected):
        name = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[expected[0]]
        raise UserError(f"{path} sets {option.name} = {value!r}, expected {name}.")
    if option.multiple:
        return several
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, bool) else str(value)


def _types_of(option: click.Option) -> tuple[type, ...]:
    """The types that a TOML value of an option may have, the usual one first."""
    if option.is_flag:
        return (bool,)
    if option.type is click.INT:
        return (int,)
    if option.type is click.FLOAT:
        return (float, int)
    if isinstance(option.type, click.Choice | click.Path):
        return (str,)
    return (str, int, float)  # text that may list numbers


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
    click.option("--backbone", metavar="NAME", help="Network (see `list`). Default: the usual one of the data set."),
    click.option("--seed", metavar="0,1,…", help="Seeds; several give mean ± std. Default: 0."),
    click.option(
        "--preset",
        type=click.Choice(["quick", "paper"]),
        default="quick",
        show_default=True,
        help="quick: 12 epochs, 256 test images (128 under attack); paper: 160 epochs, all test images.",
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
        help="Sparsity level of ViRoLBI; larger keeps more detail. Default 0.6, above 64 pixels 0.3.",
    ),
    click.option("--nu", type=float, help="Coupling ν of ViRoLBI; larger lets large scales in first. Default 1."),
    click.option(
        "--scheme",
        type=click.Choice(SCHEMES),
        help="How ViRoLBI iterates; fast differs by a fraction of a grey level. Default paper.",
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
