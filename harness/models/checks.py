"""What a model and a preprocessor must keep to for their numbers to mean anything, looked at before anything long.

What raises an error of its own here is let through: it will fail the cells that need it, and no others.
"""

from __future__ import annotations

import torch
from torch import nn

from harness.contracts.defense import Preprocessor, preprocessed_images
from harness.errors import UserError

PROBABILITY = 1e-4
"""How far rounding may take the sum of probabilities from 1."""
SAME = 1e-5
"""How far rounding may take one answer from another to the same images."""


def check_model(name: str, model: nn.Module, images: torch.Tensor, *, classes: int, stochastic: bool) -> None:
    """Look at a model's answers to a few images [B,C,H,W] in [0,1].

    Raises: UserError for another number of classes, NaN or infinity, probabilities instead of logits, and answers that
    change although the defense does not declare that.
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
            f"{name}: the model answers the same images differently each time. Set stochastic = True on the "
            "defense, so that attacks average over its draws."
        )


def check_preprocessor(preprocessor: Preprocessor, images: torch.Tensor) -> None:
    """Look at what a preprocessor makes of a few images [B,C,H,W] in [0,1].

    Raises: UserError when it changes their shape or answers differently each time, or when by one of its surrogate
    gradients (but the costly ones) no gradient comes back, one that is zero everywhere, or one that is not finite.
    """
    name = preprocessor.label
    point = images.detach().clone().requires_grad_()
    try:
        shown, again = (preprocessed_images(preprocessor(given)) for given in (point, images))
    except Exception:
        return
    if shown.shape != images.shape:
        raise UserError(f"{name}: a preprocessor keeps the shape {list(images.shape)}, got {list(shown.shape)}.")
    if not torch.equal(shown.detach(), again.detach()):
        raise UserError(
            f"{name}: the preprocessor answers the same images differently each time; "
            "it must depend on the image alone."
        )
    for surrogate in preprocessor.surrogates:
        if surrogate not in preprocessor.costly_surrogates:
            _check_surrogate(f"{name} ({surrogate})", preprocessor.with_surrogate(surrogate), images)


def _check_surrogate(name: str, preprocessor: nn.Module, images: torch.Tensor) -> None:
    """Send a random gradient back through a preprocessor."""
    point = images.detach().clone().requires_grad_()
    try:
        shown = preprocessed_images(preprocessor(point))
        weights = torch.randn(shown.shape, generator=torch.Generator().manual_seed(0)).to(shown)
        gradient = torch.autograd.grad(shown, point, weights, allow_unused=True)[0] if shown.requires_grad else None
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
        f"{name}: {fault}, so that no attack could be adaptive. Return "
        f"harness.contracts.defense.bpda_identity(images, result) and "
        "declare surrogates = ('bpda',)."
    )


def _are_probabilities(logits: torch.Tensor) -> bool:
    return bool((logits >= 0).all() and ((logits.sum(1) - 1).abs() < PROBABILITY).all())
