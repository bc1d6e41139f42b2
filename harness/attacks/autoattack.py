"""AutoAttack (Croce & Hein 2020), from whichever of its two packages is installed.

The package `autoattack` (on GitHub) and its copy `pyautoattack` (on PyPI) differ in their arguments; nothing else in
the harness knows either. What they do beside attacking stays in here: they stop any tracing of the process, seed the
global random numbers, and count calls over the life of the process.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import random
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from harness.attacks.base import Attack, Budget
from harness.attacks.best_points import Tried
from harness.errors import UserError, unknown_name
from harness.registry import attacks

VERSIONS = {
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
}
"""The attacks of each version, in order."""
USUAL, RANDOM = "standard", "rand"
"""The versions for models that answer the same every time, and for those that draw random numbers."""
RANDOM_DRAWS = 20
"""Gradients that `rand` averages; the other versions follow one."""
TARGETS = 9
"""Classes aimed at by the targeted attacks, where there are so many wrong ones."""
APGD_LOSSES = {"ce": "apgd-ce", "dlr": "apgd-dlr", "targeted": "apgd-t"}
LEAST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4, "fab-t": 2}
PACKAGES = ("pyautoattack", "autoattack")
TRIED_AT = {"apgd": 0, "apgd_targeted": 0, "square": 1}
"""Where in what a run of an attack returns, by its name within AutoAttack, the best points it tried are."""


class Found(NamedTuple):
    """Images [B,C,H,W], and what AutoAttack warned of.

    Where no image was found that fools the model, the best that was tried; the original where it was wrong from the
    start, and where only FAB was run, which keeps nothing else.
    """

    images: torch.Tensor
    flags: tuple[str, ...]


class Evaluation(NamedTuple):
    """What AutoAttack is asked for: which of its attacks, in the settings of a version, and settings of our own.

    settings: by attack object and attribute, `{"square": {"n_queries": 1000}}`.
    """

    stages: tuple[str, ...]
    version: str = "standard"
    settings: Mapping[str, Mapping[str, Any]] = {}


class _ByAutoAttack(Attack):
    """An attack that AutoAttack's code makes."""

    batch_size = 100
    """Its random numbers are drawn a batch at a time, so that results are those of this size."""

    def evaluation(self, draws: int) -> Evaluation:
        """What to ask for, with so many gradients averaged where that is not settled by the attack."""
        raise NotImplementedError

    def __call__(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        budget: Budget,
        *,
        seed: int,
        indices: np.ndarray,
    ) -> torch.Tensor:
        """Examples where any is found, else the best that was tried; the image itself where it is wrong already."""
        smallest = budget.scale.min()
        scaled = _Scaled(model, budget.scale / smallest)
        found = evaluate(
            scaled,
            scaled.inward(images),
            labels,
            self.evaluation(budget.draws),
            norm=budget.norm,
            epsilon=budget.epsilon * float(smallest),
            seed=(seed + int(indices[0])) % 2**31,
        )
        self.flags = found.flags
        moved = (found.images != scaled.inward(images)).flatten(1).any(1)[:, None, None, None]
        return torch.where(moved, budget.clip(scaled.outward(found.images), images), images)


@attacks.register("autoattack")
class AutoAttack(_ByAutoAttack):
    """AutoAttack, stage by stage.

    version: `standard`, `plus`, or `rand`, which averages 20 gradients; left out, `standard`, and for models that draw
    random numbers `rand`
    """

    name = "autoattack"

    def __init__(self, *, version: str = "", stage: str = "") -> None:
        if version and version not in VERSIONS:
            raise unknown_name("version of AutoAttack", version, VERSIONS)
        self.version, self.stage = version, stage
        every = VERSIONS[self.settled]
        if stage and stage not in every:
            raise unknown_name(f"stage of AutoAttack {self.settled}", stage, every)
        self.stages = () if stage else every

    @property
    def settled(self) -> str:
        """The version that is run."""
        return self.version or USUAL

    @property
    def counts_as(self) -> str:
        """`rand` stands for `standard` on models that draw random numbers."""
        return self.name if self.settled in (USUAL, RANDOM) else self.label

    def label_on(self, *, stochastic: bool) -> str:
        """The version in the label, but for `standard` where it is what is left out."""
        version = self.version or (RANDOM if stochastic else USUAL)
        return self.name if version == USUAL and not stochastic else f"{self.name}:version={version}"

    def draws(self, asked: int) -> int:
        """What the version settles, whatever is asked for."""
        return RANDOM_DRAWS if self.settled == RANDOM else 1

    def at(self, stage: str) -> Attack:
        """One of its attacks alone."""
        return AutoAttack(version=self.version, stage=stage)

    def parameters(self) -> dict[str, Any]:
        """The version, which settles steps and restarts."""
        return {"version": self.settled}

    def evaluation(self, draws: int) -> Evaluation:
        """One stage, or all in turn."""
        return Evaluation((self.stage,) if self.stage else self.stages, self.settled)


@attacks.register("apgd")
class APGD(_ByAutoAttack):
    """Auto-PGD, which settles its own step (Croce & Hein 2020).

    loss: `ce`, `dlr`, or `targeted` for the DLR of nine classes aimed at · steps, restarts: larger is stronger
    """

    name = "apgd"

    def __init__(self, *, loss: str = "ce", steps: int = 100, restarts: int = 1) -> None:
        if loss not in APGD_LOSSES:
            raise unknown_name("loss of apgd", loss, APGD_LOSSES)
        if min(steps, restarts) < 1:
            raise UserError(f"apgd: steps and restarts must be 1 or more, got {steps} and {restarts}.")
        self.loss, self.steps, self.restarts = loss, steps, restarts

    def parameters(self) -> dict[str, Any]:
        """All of them."""
        return {"loss": self.loss, "steps": self.steps, "restarts": self.restarts}

    def evaluation(self, draws: int) -> Evaluation:
        """One of AutoAttack's forms of it."""
        settings = {"n_iter": self.steps, "n_restarts": self.restarts, "eot_iter": draws}
        return Evaluation((APGD_LOSSES[self.loss],), settings={"apgd": settings, "apgd_targeted": settings})


@attacks.register("square")
class Square(_ByAutoAttack):
    """The Square attack, which asks for logits alone, no gradient (Andriushchenko et al. 2020).

    queries: how many it may ask for each image; more is stronger
    """

    name = "square"
    uses_gradient = False

    def __init__(self, *, queries: int = 5000) -> None:
        if queries < 1:
            raise UserError(f"square: queries must be 1 or more, got {queries}.")
        self.queries = queries

    def parameters(self) -> dict[str, Any]:
        """The number of queries."""
        return {"queries": self.queries}

    def evaluation(self, draws: int) -> Evaluation:
        """AutoAttack's form of it."""
        return Evaluation(("square",), settings={"square": {"n_queries": self.queries}})


class _Scaled(nn.Module):
    """The model in coordinates in which a ball that differs between channels is the same in all.

    ratio: [C,1,1] ≥ 1. Pixels are divided by it; what then lies beyond 1 is no picture, and is seen as 1.
    """

    def __init__(self, model: nn.Module, ratio: torch.Tensor) -> None:
        super().__init__()
        self.model = model
        self.ratio = ratio

    def inward(self, images: torch.Tensor) -> torch.Tensor:
        return images / self.ratio

    def outward(self, scaled: torch.Tensor) -> torch.Tensor:
        return (scaled * self.ratio).clamp(max=1)

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        return self.model(self.outward(scaled))


def evaluate(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    asked: Evaluation,
    *,
    norm: str,
    epsilon: float,
    seed: int,
) -> Found:
    """Run AutoAttack on images [B,C,H,W] in [0,1], as one batch.

    Raises: UserError when neither package is installed, or a stage needs more classes than the model has.
    """
    package = _package()
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    short = [stage for stage in asked.stages if classes < LEAST_CLASSES.get(stage, 2)]
    if short:
        raise UserError(f"AutoAttack's {', '.join(short)} needs 4 classes or more, the model has {classes}. Use pgd.")
    with _contained(package, images.device) as flags:
        attack = _made(
            package, model, norm=norm, epsilon=epsilon, version=asked.version, device=images.device, seed=seed
        )
        attack.attacks_to_run = list(asked.stages)
        for targeted in (attack.apgd_targeted, attack.fab):
            targeted.n_target_classes = min(TARGETS, classes - 1)
        for part, settings in asked.settings.items():
            for setting, value in settings.items():
                setattr(getattr(attack, part), setting, value)
        tried = Tried(model)
        for part, place in TRIED_AT.items():
            tried.watch(getattr(attack, part), place)
        found = tried.instead_of_originals(_run(package, attack, images, labels).detach(), images)
    return Found(found, tuple(dict.fromkeys(flags)))


def stand_in() -> None:
    """Let `from autoattack import AutoAttack`, which RobustBench wants, find the installed package under any name."""
    if _package() == "autoattack" or "autoattack" in sys.modules:
        return
    original = importlib.import_module("pyautoattack")
    module = types.ModuleType("autoattack")
    module.AutoAttack = _AsOriginal  # type: ignore[attr-defined]
    module.state = importlib.import_module("pyautoattack.state")  # type: ignore[attr-defined]
    module._stands_in = original  # type: ignore[attr-defined]
    sys.modules["autoattack"], sys.modules["autoattack.state"] = module, module.state


class _AsOriginal:
    """pyautoattack with the arguments of the original package, as far as RobustBench uses them."""

    def __init__(self, model: nn.Module, *, norm: str, eps: float, version: str, device: Any, log_path: Any = None):
        self.attack = _made("pyautoattack", model, norm=norm, epsilon=eps, version=version, device=device, seed=None)

    def run_standard_evaluation(
        self, images: torch.Tensor, labels: torch.Tensor, *, bs: int = 250, state_path: Any = None
    ) -> torch.Tensor:
        """The adversarial images alone, as the original returns them."""
        found: torch.Tensor
        found, _ = self.attack.run_standard_evaluation(images, labels, batch_size=bs, state_path=state_path)
        return found


def _package() -> str:
    """The name of the package that is installed. Raises: UserError for none."""
    for name in PACKAGES:
        if hasattr(sys.modules.get(name), "_stands_in"):
            continue
        if name in sys.modules or importlib.util.find_spec(name) is not None:
            return name
    raise UserError("AutoAttack is not installed. Install it with: pip install pyautoattack")


def _made(
    package: str, model: nn.Module, *, norm: str, epsilon: float, version: str, device: Any, seed: int | None
) -> Any:
    kind = importlib.import_module(package).AutoAttack
    quiet = {} if package == "pyautoattack" else {"verbose": False}
    attack = kind(model, norm=norm, eps=epsilon, version=version, device=device, seed=seed, **quiet)
    attack.verbose = False
    return attack


def _run(package: str, attack: Any, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor
    if package == "pyautoattack":
        found, _ = attack.run_standard_evaluation(images, labels, batch_size=len(images))
    else:
        found = attack.run_standard_evaluation(images, labels, bs=len(images))
    return found


@contextlib.contextmanager
def _contained(package: str, device: torch.device) -> Iterator[list[str]]:
    """Put back what AutoAttack changes in the process; yields the list its warnings go to, a line each."""
    flags: list[str] = []
    counts = importlib.import_module(f"{package}.checks").funcs
    handler = _Listening(flags)
    logger = logging.getLogger("auto-attack")
    trace, printed, numbers = sys.gettrace(), io.StringIO(), random.getstate()
    legacy_numbers = np.random.get_state()  # noqa: NPY002 (what others draw from is put back)
    counts.update(dict.fromkeys(counts, 0))
    logger.addHandler(handler)
    propagates, logger.propagate = logger.propagate, False
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(printed),
        ):
            warnings.simplefilter("always")
            yield flags
        flags += [_line(str(warning.message)) for warning in warned]
        flags += [_line(line) for line in printed.getvalue().splitlines() if "arning" in line]
    finally:
        logger.propagate = propagates
        logger.removeHandler(handler)
        counts.update(dict.fromkeys(counts, 0))
        sys.settrace(trace)
        random.setstate(numbers)
        np.random.set_state(legacy_numbers)  # noqa: NPY002


class _Listening(logging.Handler):
    """Keeps what is logged as a warning."""

    def __init__(self, flags: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.flags = flags

    def emit(self, record: logging.LogRecord) -> None:
        self.flags.append(_line(record.getMessage()))


def _line(text: str) -> str:
    """A warning without its pointer to a page that is not here."""
    return " ".join(text.partition(" See ")[0].removeprefix("Warning: ").split())
