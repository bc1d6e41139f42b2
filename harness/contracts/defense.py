"""What a defense is: how a model is trained, what is changed in it, what is done to an image at test time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from harness.cache import ArrayCache
from harness.errors import UserError, refuse_former
from harness.registry import defenses, preprocessors
from harness.types import Batch, Preset, Recipe, Split, TrainingState


@defenses.base_class
class Defense:
    """The procedure of plain training; a defense overrides what it does differently.

    Constructor parameters are keyword-only, annotated, and stored unchanged: they are what a user may set in
    the name, `my_defense:strength=2`. `label`, the name with its parameters, is set by the registry.
    """

    stochastic: ClassVar[bool] = False
    """Whether the model draws random numbers at evaluation, so that attacks must average over draws."""
    version: ClassVar[int] = 1
    """Raised when a change of code changes numbers; part of the identity of checkpoints and cells."""
    label: str

    def recipe(self, base: Recipe, preset: Preset) -> Recipe:
        """The optimisation settings, from those usual for the backbone and preset."""
        return base

    def protect(self, model: nn.Module) -> nn.Module:
        """The network as defended: takes [B,C,H,W] in [0,1], returns logits, as `model` does."""
        return model

    def training_images(self, split: Split, *, epoch: int, epochs: int, cache: ArrayCache) -> np.ndarray:
        """The images [N,C,H,W] uint8 an epoch trains on, before augmentation."""
        return split.images

    def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
        """The loss of one batch, a scalar."""
        return functional.cross_entropy(model(batch.images), batch.labels)

    def after_step(self, model: nn.Module, batch: Batch, state: TrainingState) -> None:
        """What is done once the optimiser has taken the batch's step; `model` is in training mode."""

    def keep(self, *, epoch: int, epochs: int) -> str | None:
        """A tag under which the checkpoint of this epoch is kept beside the last one, "level=0.6" for example."""
        return None

    def curves(self, *, epoch: int, epochs: int) -> dict[str, float]:
        """What else the curves of a training show of an epoch, {"level": 0.6} for example."""
        return {}

    def reseed(self, model: nn.Module, seed: int) -> None:
        """Start the model's own random numbers anew, where it draws some; called before every epoch and cell."""

    def preprocess(self, default: str) -> str:
        """What is done to a test image first, as a preprocessor's name; `default` is the run's ViRoLBI."""
        return default


class Preprocessed(NamedTuple):
    """Preprocessed images, and how that ended for them."""

    images: torch.Tensor
    """[B,C,H,W] float32 in [0,1]."""
    outcomes: Mapping[str, int] = {}
    """Counts over the batch, {"reached": 3} for example; they are added up and recorded with the cell."""

    @classmethod
    def of(cls, returned: torch.Tensor | Preprocessed) -> Preprocessed:
        """What a preprocessor returned; plain images become a result without outcomes."""
        return returned if isinstance(returned, Preprocessed) else cls(returned)


_FORMER = {
    "gradient": '`surrogates`, a tuple of names, such as ("bpda",)',
    "gradients": "`surrogates`",
    "ways": "`surrogates`",
    "costly": "`costly_surrogates`",
    "through": "the method `with_surrogate`",
    "last_outcomes": "returned by `forward`: Preprocessed(images, outcomes)",
}


@preprocessors.base_class
class Preprocessor(nn.Module):
    """What is done to test images before the network: [B,C,H,W] float32 in [0,1] to the same, each image by itself.

    An image gives the same result every time.

    An attacker who knows the defense differentiates it by one of its surrogate gradients (Athalye et al. 2018). Name
    yours "exact" where autograd gives the true derivative, "bpda" where `forward` replaces it by another.
    """

    surrogates: ClassVar[tuple[str, ...]] = ("exact",)
    """The names of the surrogate gradients, the usual one first; attackers use them all."""
    costly_surrogates: ClassVar[tuple[str, ...]] = ()
    """Those that the preset `quick` leaves out unless they are asked for."""
    version: ClassVar[int] = 1
    """Raised when a change of code changes numbers; part of every cell's identity."""
    label: str

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises: UserError for surrogates that are no names, and for what was renamed."""
        super().__init_subclass__(**options)
        refuse_former(cls, _FORMER)
        names: Any = cls.surrogates
        if not isinstance(names, tuple) or not names or not all(isinstance(name, str) and name for name in names):
            raise UserError(
                f'{cls.__name__}: expected surrogates to be names, such as surrogates = ("bpda",), got {names!r}.'
            )

    def with_surrogate(self, name: str) -> nn.Module:
        """The same map with the surrogate gradient `name`, one of `surrogates`; override it where there are several."""
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor | Preprocessed:
        """The preprocessed images, alone or with what became of them; unless overridden, the images as they are."""
        return images


class _Identity(torch.autograd.Function):
    """Forward: what was computed. Backward: the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        return result.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


def bpda_identity(images: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """`result`, with the gradient of the identity with respect to `images` (Athalye et al. 2018).

    For a preprocessor without a useful derivative: compute `result` however you like, return this.
    """
    return _Identity.apply(images, result.detach())
