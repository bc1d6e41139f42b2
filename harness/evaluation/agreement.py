"""Whether weights from elsewhere agree with the normalisation in front of them, by accuracy on a few test images."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.contracts.dataset import as_float
from harness.contracts.model import NormalizedModel, UnnormalizedModel, inner_normalization
from harness.evaluation.setup import RunSetup
from harness.metrics import mcnemar
from harness.models.backbones import IMAGENET_NORMALIZATION
from harness.models.defended import DefendedModel
from harness.models.normalization import NONE, Values, as_option
from harness.progress import say

IMAGES = 100
"""Test images that accuracies are compared on, a batch of `BATCH` at a time."""
BATCH = 20
SIGNIFICANT = 0.05


def with_agreement(model: DefendedModel, setup: RunSetup) -> DefendedModel:
    """The model of weights from elsewhere; its `trained` also says where another normalisation suits them better."""
    said = model.trained.get("normalization")
    if said is None:
        return model
    better = _better(model.model, setup)
    if better is None:
        say(f"{model.path}: normalisation: {said}. --normalization sets another.")
        return model
    option, doubt = better
    say(f"warning: {model.path}: normalisation: {said}; {doubt}. Were they trained with it? --normalization {option}")
    return dataclasses.replace(model, trained={**model.trained, "normalization": f"{said}; {doubt}"})


def _better(model: nn.Module, setup: RunSetup) -> tuple[str, str] | None:
    """The normalisation under which significantly more images are right, as the option names it, and how many."""
    split, inner = setup.dataset.test().take(IMAGES), inner_normalization(model)
    images, labels = as_float(split.images).to(setup.device), np.asarray(split.labels)
    now = _right(model, images, labels)
    best, right = None, now
    for option, (mean, std) in _usual(setup).items():
        hook = inner.network.register_forward_pre_hook(_renormalized(inner, mean, std))
        try:
            other = _right(model, images, labels)
        finally:
            hook.remove()
        if other.sum() > right.sum():
            best, right = option, other
    if best is None or mcnemar(right, now).p_value >= SIGNIFICANT:
        return None
    return (
        best,
        f"with {best} {100 * right.mean():.0f} % of {len(now)} test images are right, not {100 * now.mean():.0f} %",
    )


def _usual(setup: RunSetup) -> dict[str, tuple[Values, Values]]:
    """Usual normalisations, as `--normalization` names them: none, the data set's, 0.5/0.5 and ImageNet's."""
    channels = setup.dataset.image_shape[0]
    half = (0.5,) * channels
    others = [(tuple(setup.dataset.mean), tuple(setup.dataset.std)), (half, half)]
    others += [IMAGENET_NORMALIZATION] if channels == 3 else []
    nothing = {NONE: ((0.0,) * channels, (1.0,) * channels)}
    return nothing | {as_option(*values): values for values in others}


def _renormalized(inner: NormalizedModel, mean: Values, std: Values) -> Any:
    """A hook that gives a network images under this normalisation instead of the one in front of it."""
    shift, scale = (torch.tensor(values)[:, None, None].to(inner.mean) for values in (mean, std))

    def renormalize(_: nn.Module, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        images = given[0] if isinstance(inner, UnnormalizedModel) else given[0] * inner.std + inner.mean
        return ((images - shift) / scale,)

    return renormalize


@torch.no_grad()
def _right(model: nn.Module, images: torch.Tensor, labels: np.ndarray) -> np.ndarray:
    """Which images are classified correctly, [N] bool."""
    predicted = torch.cat([model(batch).argmax(1) for batch in images.split(BATCH)])
    return predicted.cpu().numpy() == labels
