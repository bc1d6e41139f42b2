"""What a suite is: its conditions, and how each disturbs a batch of test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from harness.registry import preprocessors, suites
from harness.types import Condition, EpsilonSpace, Norm, Split

if TYPE_CHECKING:
    from harness.contracts.dataset import Dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteContext:
    """What a suite may know of the run.

    dataset: the data set · split: the test images taken · seed: of the model, 0 where a suite needs none · target: the
    model under test, whose normalisation ε may be measured by; None where it is the one attacked · stochastic: whether
    it draws random numbers · gradients: the ways through its preprocessor, the usual one first · left_out: those of
    them to try only when asked for · has_transfer: whether there is another model to make examples on ·
    stochastic_source: whether that one draws random numbers · batch_size: images it takes at once
    """

    dataset: Dataset
    split: Split
    seed: int
    corruptions: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ("fgsm", "pgd")
    norm: Norm = "Linf"
    epsilons: tuple[float, ...] = (8 / 255, 16 / 255)
    epsilon_space: EpsilonSpace = "pixel"
    target: nn.Module | None = None
    stochastic: bool = False
    gradients: tuple[str, ...] = ("exact",)
    left_out: tuple[str, ...] = ()
    has_transfer: bool = False
    stochastic_source: bool = False
    batch_size: int = 256


@suites.base_class
class Suite:
    """Conditions and how to make them. A suite never looks at predictions and never grades.

    `label`, its name with its parameters, is set by the registry.
    """

    label: str

    version: int = 1
    """Raised when a change of code changes numbers; part of every cell's identity."""
    in_all: bool = True
    """Whether `--suite all` includes it; costly ones may have to be asked for."""
    needs_model: bool = False
    """Whether the disturbed images depend on the model; where not, they are shared between defenses.

    Under the threat `transfer` they depend on the source, and are shared by targets of one seed and normalisation: the
    context is then that of any of them.
    """
    limit: int | None = None
    """At most this many test images, where a suite is costly."""
    last_flags: tuple[str, ...] = ()
    """What an attack had to say of the model at the last call of `disturb`."""
    last_measures: Mapping[str, float] = {}
    """Numbers that an attack found at the last call of `disturb`, as means over its images."""

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """Every condition of this suite, in the order tables show them."""
        raise NotImplementedError

    def disturb(
        self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module | None
    ) -> torch.Tensor:
        """The disturbed images of `rows` (positions in `context.split`).

        Returns [B,C,H,W] float32, on the model's device where there is a model and on the CPU otherwise. What is
        returned for an image depends on that image, the condition and the seed alone, not on its batch-mates.
        """
        raise NotImplementedError


def known_ways() -> list[str]:
    """The surrogate gradients of all registered preprocessors."""
    kinds = [entry.factory for entry in preprocessors]
    return sorted({name for kind in kinds for name in getattr(kind, "surrogates", ())})
