"""Checks that a model's and a preprocessor's numbers can mean anything, on a few images, before anything long.

One that raises an error of its own passes here: later it fails the cells that need it, and no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from harness.contracts.defense import Preprocessed
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.contracts.defense import Preprocessor

PROBABILITY = 1e-4
"""How far rounding may take the sum of probabilities from 1."""
SAME = 1e-5
"""How far rounding may take logits of the same images from each other."""


def check_model(name: str, model: nn.Module, images: torch.Tensor, *, classes: int, stochastic: bool) -> None:
    """Check a model by its logits of a few images [B,C,H,W] in [0,1].

    Raises: UserError for another number of classes, NaN or infinity, probabilities instead of logits, and logits that
    change from call to call although the defense does not declare that.
    """
    try:
        with torch.no_grad():
            logits, again = model(images), model(images)
    except Exception:
        return
    if logits.shape != (len(images), classes):
        raise UserError(
            f"{name}: expected logits of shape {[len(images), classes]}, got {list(logits.shape)}. "
            f"The data set has {classes} classes."
        )
    if not logits.isfinite().all():
        raise UserError(f"{name}: the model returned NaN or infinity.")
    if _are_probabilities(logits):
        raise UserError(f"{name}: the model returns probabilities, attacks need logits. Leave out its last softmax.")
    if not stochastic and (logits - again).abs().max() > SAME * logits.abs().max().clamp(min=1):
        raise UserError(
            f"{name}: the model returns other logits for the same images each time. Set stochastic = True on the "
            "defense, so that attacks average over its draws."
        )


def check_preprocessor(preprocessor: Preprocessor, images: torch.Tensor) -> None:
    """Check a preprocessor by a few images [B,C,H,W] in [0,1].

    Raises: UserError when it changes their shape or returns something else each time, or when one of its surrogate
    gradients (but the costly ones) is missing, zero everywhere, or not finite.
    """
    name = preprocessor.label
    point = images.detach().clone().requires_grad_()
    try:
        once, again = (Preprocessed.of(preprocessor(batch)).images for batch in (point, images))
    except Exception:
        return
    if once.shape != images.shape:
        raise UserError(f"{name}: a preprocessor keeps the shape {list(images.shape)}, got {list(once.shape)}.")
    if not torch.equal(once.detach(), again.detach()):
        raise UserError(
            f"{name}: the preprocessor returns something else for the same images each time; "
            "its result must depend on the image alone."
        )
    for surrogate in (each for each in preprocessor.surrogates if each not in preprocessor.costly_surrogates):
        _check_gradient(f"{name} ({surrogate})", preprocessor.with_surrogate(surrogate), images)


def _check_gradient(name: str, preprocessor: nn.Module, images: torch.Tensor) -> None:
    """Check a surrogate gradient by sending a random gradient back through the preprocessor."""
    point = images.detach().clone().requires_grad_()
    try:
        result = Preprocessed.of(preprocessor(point)).images
        given = torch.randn(result.shape, generator=torch.Generator().manual_seed(0)).to(result)
        gradient = torch.autograd.grad(result, point, given, allow_unused=True)[0] if result.requires_grad else None
    except Exception:
        return
    if gradient is None:
        fault = "no gradient comes back through the preprocessor"
    elif not gradient.isfinite().all():
        fault = "the gradient that comes back through the preprocessor holds NaN or infinity"
    elif not gradient.any():
        fault = "the gradient that comes back through the preprocessor is zero everywhere"
    else:
        return
    raise UserError(
        f"{name}: {fault}, so that no attack could be adaptive. Return bpda_identity(images, result), from "
        "harness.contracts.defense, and declare surrogates = ('bpda',)."
    )


def _are_probabilities(logits: torch.Tensor) -> bool:
    return bool((logits >= 0).all() and ((logits.sum(1) - 1).abs() < PROBABILITY).all())
