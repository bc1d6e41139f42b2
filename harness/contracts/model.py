"""Models as every other tool may attack them: [B,C,H,W] in [0,1] in, logits out, normalisation inside."""

from __future__ import annotations

from collections.abc import Sequence

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
        return self.network((images - self.mean) / self.std)


class ExternalModel(NormalizedModel):
    """A model from elsewhere that takes [0,1] and normalises by itself; mean and std only say how ε is measured."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B,classes] of images [B,C,H,W] in [0,1]."""
        return self.network(images)


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
