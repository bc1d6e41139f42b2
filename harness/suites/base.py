"""What a suite is: its conditions, and how each perturbs a batch of test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from harness.errors import refuse_former
from harness.registry import preprocessors, suites
from harness.types import Condition, EpsilonSpace, Norm, Purpose, Split

if TYPE_CHECKING:
    from harness.contracts.dataset import Dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteContext:
    """What a suite may know of the run and, where it attacks one, of the model."""

    dataset: Dataset
    split: Split
    """The test images taken."""
    seed: int
    """Of the model under test; 0 where a suite needs no model."""
    batch_size: int = 256
    """Images that the model is given at once."""
    corruptions: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ("fgsm", "pgd")
    norm: Norm = "Linf"
    epsilons: tuple[float, ...] = (8 / 255, 16 / 255)
    epsilon_space: EpsilonSpace = "pixel"
    target: nn.Module | None = None
    """The model under test, by whose normalisation ε may be measured; None where it is the one attacked."""
    stochastic: bool = False
    """Whether it draws random numbers."""
    surrogates: tuple[str, ...] = ("exact",)
    """The surrogate gradients of its preprocessor, the usual one first."""
    on_request: tuple[str, ...] = ()
    """Those of them that are used only where they are asked for."""
    has_transfer: bool = False
    """Whether there is another model to make examples on."""
    stochastic_source: bool = False
    """Whether that one draws random numbers."""


class Perturbed(NamedTuple):
    """Perturbed images, with what an attack warned of and measured."""

    images: torch.Tensor
    """[B,C,H,W] float32."""
    flags: tuple[str, ...] = ()
    """What an attack warns of."""
    measures: Mapping[str, float] = {}
    """Numbers that an attack measured, means over the images."""

    @classmethod
    def of(cls, returned: torch.Tensor | Perturbed) -> Perturbed:
        """What a suite returned; plain images become a result without flags and measures."""
        return returned if isinstance(returned, Perturbed) else cls(returned)


@suites.base_class
class Suite:
    """Conditions, and how to perturb images under each. A suite never looks at predictions and never grades.

    `label`, its name with its parameters, is set by the registry.
    """

    label: str
    version: int = 1
    """Raised when a change of code changes numbers; part of every cell's identity."""
    in_all: bool = True
    """Whether `--suite all` includes it; costly ones may have to be asked for."""
    purpose: Purpose = "score"
    """`diagnostic`: its cells check attacks and are no scores of the model."""
    needs_model: bool = False
    """Whether the perturbed images depend on the model; where not, all models share them.

    Under the threat model `transfer` they depend on the source, and targets of one seed and normalisation share them:
    the context is then that of any of these.
    """
    limit: int | None = None
    """At most this many test images, where a suite is costly."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises: UserError for what was renamed."""
        super().__init_subclass__(**options)
        returned = "returned by `perturb`: Perturbed(images, flags, measures)"
        refuse_former(cls, {"disturb": "the method `perturb`", "last_flags": returned, "last_measures": returned})

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """Every condition of this suite, in the order tables show them."""
        raise NotImplementedError

    def perturb(
        self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module | None
    ) -> torch.Tensor | Perturbed:
        """The perturbed images of `rows` (positions in `context.split`).

        They are [B,C,H,W] float32, on the model's device where there is a model and on the CPU otherwise. An image's
        result depends on that image, the condition and the seed alone, not on its batch-mates.
        """
        raise NotImplementedError


def known_surrogates() -> list[str]:
    """The surrogate gradients of all registered preprocessors."""
    kinds = [entry.factory for entry in preprocessors]
    return sorted({name for kind in kinds for name in getattr(kind, "surrogates", ())})
