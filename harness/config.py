"""A run's options as the user gave them, each checked for its range; `evaluation/setup.py` resolves them."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.files import read_text, reading
from harness.spec import split_list
from harness.types import SMALL_IMAGE, EpsilonSpace, Norm, Preset

if TYPE_CHECKING:
    import torch

DEFAULT_DEFENSES = ("virolbi_iterative",)
DEFAULT_SUITES = ("clean", "corruption", "adversarial", "low_resolution", "frequency")
UNDEFENDED = "vanilla"
"""The defense that stands for none: what a zoo's model is under, and the preferred source of transfer attacks."""
PREPROCESSOR = "virolbi"
"""What the protocol does to test images unless a defense or the user says otherwise."""
QUICK_LIMIT, QUICK_ATTACK_LIMIT = 256, 128
SMALLEST_RADIUS = 1e-9
"""A smaller radius is no more than rounding."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The options of `run`, `train` and `diagnose` as the user gave them; None where the default depends on others."""

    defenses: tuple[str, ...] | None = None
    suites: tuple[str, ...] | None = None
    dataset: str = "shapes"
    data_root: Path = Path("data")
    backbone: str | None = None
    """None: the data set's, `Dataset.usual_backbone`."""
    seeds: tuple[int, ...] | None = None
    preset: Preset = "quick"
    epochs: int | None = None
    batch_size: int | None = None
    limit: int | None = None
    """At most this many test images; None: the preset's."""
    train_limit: int | None = None
    keep_epochs: tuple[int, ...] = ()
    """After which epochs, counted from 1, a checkpoint is kept."""
    corruptions: tuple[str, ...] = ()
    """None given: the paper's three kinds of noise."""
    attacks: tuple[str, ...] = ("fgsm", "pgd")
    norm: Norm = "Linf"
    epsilons: tuple[float, ...] = (8 / 255, 16 / 255)
    epsilon_space: EpsilonSpace = "pixel"
    level: float | None = None
    """None: `usual_level` of the images' size."""
    nu: float | None = None
    scheme: str | None = None
    preprocess: str | None = None
    """None: what the defense does to test images."""
    checkpoint: str | Path | None = None
    """A file, or `robustbench:NAME`."""
    normalization: str | None = None
    """Of weights from elsewhere: `none` or `MEAN/STD`; None: the backbone's own, else the data set's."""
    transfer_from: str | Path | None = None
    device: str = "auto"
    amp: bool = False
    tensorboard: bool = False
    out: Path = Path("runs/default")

    def __post_init__(self) -> None:
        _check("--epochs", self.epochs, lambda value: value >= 1, "1 or more")
        _check("--batch-size", self.batch_size, lambda value: value >= 2, "2 or more")
        _check("--limit", self.limit, lambda value: value >= 1, "1 or more test images")
        _check("--train-limit", self.train_limit, lambda value: value >= 2, "2 or more training images")
        _check("--level", self.level, lambda value: 0 < value <= 1, "above 0 and at most 1")
        _check("--nu", self.nu, lambda value: 0 < value < float("inf"), "a number above 0")
        for epoch in self.keep_epochs:
            _check("--keep-epochs", epoch, lambda value: value >= 1, "1 or more")
        for seed in self.seeds or ():
            _check("--seed", seed, lambda value: value >= 0, "0 or more")
        _check_radii("--epsilons", self.epsilons)
        lists: tuple[tuple[str, tuple[Any, ...] | None, str], ...] = (
            ("--defense", self.defenses, "name"),
            ("--suite", self.suites, "name"),
            ("--seed", self.seeds, "number"),
            ("--attacks", self.attacks, "name"),
            ("--epsilons", self.epsilons, "radius"),
        )
        for option, values, what in lists:
            _check(option, values, lambda value: len(value) > 0, f"at least one {what}")

    def test_limit(self, suite_limit: int | None, *, adversarial: bool) -> int | None:
        """How many test images a suite takes; None for all."""
        quick = None
        if self.preset == "quick" and self.limit is None:
            quick = QUICK_ATTACK_LIMIT if adversarial else QUICK_LIMIT
        limits = [value for value in (self.limit, suite_limit or quick) if value is not None]
        return min(limits, default=None)


def usual_level(image_size: int) -> float:
    """The usual sparsity level of preprocessing, the paper's: 0.6 for small images, 0.3 for large ones."""
    return 0.6 if image_size <= SMALL_IMAGE else 0.3


def _check(option: str, value: Any, right: Callable[[Any], bool], expected: str) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**63:
        raise UserError(f"{option} must be below 2^63, got {value}.")
    if value is not None and not right(value):
        got = "nothing" if value == () else f"{value:g}" if isinstance(value, float) else str(value)
        raise UserError(f"{option} must be {expected}, got {got}.")


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes a GPU where there is one. Raises: UserError for one that is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device expects auto, cpu or an available device such as cuda:0, got {name!r}. Use --device cpu."
        ) from error
    return device


def parse_epsilons(text: str, option: str = "--epsilons") -> tuple[float, ...]:
    """Radii from the text of an option, each once: "8/255,16/255" or decimals.

    Raises: UserError for other text, and a radius out of range.
    """
    try:
        radii = tuple(dict.fromkeys(_radius(part.strip()) for part in text.split(",") if part.strip()))
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"{option} expects numbers such as 8/255,16/255 or 0.03, got {text!r}.") from error
    _check_radii(option, radii)
    return radii


def _check_radii(option: str, radii: tuple[float, ...]) -> None:
    for radius in radii:
        _check(option, radius, lambda value: SMALLEST_RADIUS <= value < math.inf, "above 0 and finite, such as 8/255")


def _radius(text: str) -> float:
    """A number or a fraction, also as attack code writes it, "8./255"."""
    whole, slash, part = text.partition("/")
    return float(whole) / float(part) if slash else float(whole)


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers from the text of an option, each once: "0,1,2"."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise UserError(f"{option} expects whole numbers such as 0,1,2, got {text!r}.") from error


def parse_names(text: str) -> tuple[str, ...]:
    """Names with parameters from text, each once."""
    return tuple(dict.fromkeys(split_list(text)))


def read_toml(path: Path, known: list[str]) -> dict[str, Any]:
    """The options in a TOML file by their names on the command line, without the dashes.

    Raises: UserError when the file is missing, is not TOML or holds an unknown option.
    """
    with reading(path, "a TOML file for --config"):
        content = tomllib.loads(read_text(path))
    options = {key.replace("-", "_"): value for key, value in content.items()}
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise UserError(f"{path} sets unknown options {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    return options
