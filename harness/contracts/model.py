"""Models as every other tool may attack them: [B,C,H,W] in [0,1] in, logits out, normalisation inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from harness.contracts.defense import Preprocessed
from harness.errors import UserError


class NormalizedModel(nn.Module):
    """A network behind its normalisation: images in [0,1] to logits.

    mean, std: per channel, of images in [0,1]; they are part of the state, so that a checkpoint carries them.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B,classes] of images [B,C,H,W] in [0,1]."""
        return logits_of(self.network((images - self.mean) / self.std))


class ExternalModel(NormalizedModel):
    """A model from elsewhere that takes [0,1] and normalises by itself; mean and std only say how ε is measured."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B,classes] of images [B,C,H,W] in [0,1]."""
        return logits_of(self.network(images))


class UnnormalizedModel(ExternalModel):
    """A network of a backbone of ours or of a plugin that is given images in [0,1] as they are.

    Its state says so: otherwise its digest would be that of the same weights behind a normalisation.
    """

    takes_unnormalized: torch.Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(network, mean, std)
        self.register_buffer("takes_unnormalized", torch.tensor(True))


def logits_of(returned: Any) -> Any:
    """The logits in what a network returned, float32 where they were half precision.

    They are found where there is one reading only: under the name `logits`, or as the only tensor of a tuple, list or
    dict. Anything else comes back as it is, for `models/checks.py` to refuse.
    """
    if type(returned) is not torch.Tensor:
        returned = _only_tensor(returned)
    if isinstance(returned, torch.Tensor) and returned.dtype in (torch.float16, torch.bfloat16):
        # mixed precision asks for half precision itself, and its losses know how to go on from there
        return returned if torch.is_autocast_enabled(returned.device.type) else returned.float()
    return returned


def _only_tensor(returned: Any) -> Any:
    if isinstance(returned, torch.Tensor):  # a subclass; one with a dispatch of its own may hold no plain numbers
        plain = type(returned).__torch_dispatch__ is torch.Tensor.__torch_dispatch__
        return returned.as_subclass(torch.Tensor) if plain else returned
    named = returned.get("logits") if isinstance(returned, Mapping) else getattr(returned, "logits", None)
    if isinstance(named, torch.Tensor):
        return named
    values = returned.values() if isinstance(returned, Mapping) else returned
    if isinstance(returned, tuple | list | Mapping) and len(returned) == 1:
        (only,) = values
        return only if isinstance(only, torch.Tensor) else returned
    return returned


def inner_normalization(model: nn.Module) -> NormalizedModel:
    """The part of a model that holds its normalisation. Raises: UserError when there is none."""
    for module in model.modules():
        if isinstance(module, NormalizedModel):
            return module
    raise UserError(
        "the model holds no NormalizedModel; build it with harness.contracts.model.NormalizedModel(network, mean, std)."
    )


class Pipeline(nn.Module):
    """A preprocessor in front of a model: the whole defense as one module, differentiable as far as it can be."""

    def __init__(self, preprocessor: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.preprocessor = preprocessor
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of the preprocessed images."""
        return self.model(Preprocessed.of(self.preprocessor(images)).images)
