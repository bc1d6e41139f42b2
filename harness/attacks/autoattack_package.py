"""Runs AutoAttack's code, from the one of its two packages that is installed.

`autoattack` (on GitHub) and its copy `pyautoattack` (on PyPI) differ in their arguments; nothing else in the harness
knows either.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from harness.attacks.base import AttackResult
from harness.attacks.best_points import BestPoints
from harness.attacks.containment import contained
from harness.errors import UserError

PACKAGES = ("pyautoattack", "autoattack")
TARGETS = 9
"""Classes that the targeted attacks aim at; all wrong ones where there are fewer."""
LEAST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4, "fab-t": 2}
BEST_POINTS_AT = {"apgd": 0, "apgd_targeted": 0, "square": 1}
"""The position of the best points in the tuple that an attack's run returns, by its name in AutoAttack.

FAB returns none.
"""


class Evaluation(NamedTuple):
    """The attacks that AutoAttack runs, and their settings."""

    stages: tuple[str, ...]
    """Its attacks, in order."""
    version: str = "standard"
    """The version whose settings the attacks take."""
    settings: Mapping[str, Mapping[str, Any]] = {}
    """Settings in place of the version's, by attack and attribute: `{"square": {"n_queries": 1000}}`."""


def evaluate(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    evaluation: Evaluation,
    *,
    norm: str,
    epsilon: float,
    seed: int,
) -> AttackResult:
    """Run AutoAttack on images [B,C,H,W] in [0,1], as one batch; its warnings come back as flags.

    For an image that was not fooled the best point is returned (FAB records none), a misclassified one unchanged.
    Raises: UserError when neither package is installed, or a stage needs more classes than the model has.
    """
    package = _installed()
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    _check_classes(evaluation.stages, classes)
    with contained(package, images.device) as flags:
        attack = _create(
            package, model, norm=norm, epsilon=epsilon, version=evaluation.version, device=images.device, seed=seed
        )
        _configure(attack, evaluation, classes)
        best = BestPoints(model)
        for name, position in BEST_POINTS_AT.items():
            best.watch(getattr(attack, name), position)
        examples = best.instead_of_originals(_run(package, attack, images, labels).detach(), images)
    return AttackResult(examples, tuple(dict.fromkeys(flags)))


def _installed() -> str:
    """The name of the package that is installed. Raises: UserError for none."""
    for name in PACKAGES:
        if hasattr(sys.modules.get(name), "_stands_in"):
            continue
        if name in sys.modules or importlib.util.find_spec(name) is not None:
            return name
    raise UserError("AutoAttack is not installed. Install it with: pip install pyautoattack")


def least_classes(stages: tuple[str, ...]) -> int:
    """The number of classes that these attacks need."""
    return max(LEAST_CLASSES.get(stage, 2) for stage in stages)


def _check_classes(stages: tuple[str, ...], classes: int) -> None:
    short = [stage for stage in stages if classes < least_classes((stage,))]
    if short:
        raise UserError(
            f"AutoAttack's {', '.join(short)} needs {least_classes(stages)} classes or more, the model has {classes}. "
            "Use pgd."
        )


def _create(
    package: str, model: nn.Module, *, norm: str, epsilon: float, version: str, device: Any, seed: int | None
) -> Any:
    factory = importlib.import_module(package).AutoAttack
    quiet = {} if package == "pyautoattack" else {"verbose": False}
    attack = factory(model, norm=norm, eps=epsilon, version=version, device=device, seed=seed, **quiet)
    attack.verbose = False
    return attack


def _configure(attack: Any, evaluation: Evaluation, classes: int) -> None:
    attack.attacks_to_run = list(evaluation.stages)
    for targeted in (attack.apgd_targeted, attack.fab):
        targeted.n_target_classes = min(TARGETS, classes - 1)
    for name, settings in evaluation.settings.items():
        for setting, value in settings.items():
            setattr(getattr(attack, name), setting, value)


def _run(package: str, attack: Any, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    examples: torch.Tensor
    if package == "pyautoattack":
        examples, _ = attack.run_standard_evaluation(images, labels, batch_size=len(images))
    else:
        examples = attack.run_standard_evaluation(images, labels, bs=len(images))
    return examples


def stand_in() -> None:
    """Let `from autoattack import AutoAttack`, as RobustBench writes it, work with either package."""
    if _installed() == "autoattack" or "autoattack" in sys.modules:
        return
    original = importlib.import_module("pyautoattack")
    module = types.ModuleType("autoattack")
    module.AutoAttack = _WithOriginalArguments  # type: ignore[attr-defined]
    module.state = importlib.import_module("pyautoattack.state")  # type: ignore[attr-defined]
    module._stands_in = original  # type: ignore[attr-defined]
    sys.modules["autoattack"], sys.modules["autoattack.state"] = module, module.state


class _WithOriginalArguments:
    """pyautoattack with the arguments of the original package, as far as RobustBench uses them."""

    def __init__(self, model: nn.Module, *, norm: str, eps: float, version: str, device: Any, log_path: Any = None):
        self.attack = _create("pyautoattack", model, norm=norm, epsilon=eps, version=version, device=device, seed=None)

    def run_standard_evaluation(
        self, images: torch.Tensor, labels: torch.Tensor, *, bs: int = 250, state_path: Any = None
    ) -> torch.Tensor:
        """The adversarial images alone, as the original returns them."""
        examples: torch.Tensor
        examples, _ = self.attack.run_standard_evaluation(images, labels, batch_size=bs, state_path=state_path)
        return examples
