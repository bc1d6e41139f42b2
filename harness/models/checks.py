"""Checks that a model's and a preprocessor's numbers can mean anything, on a few images, before anything long.

A preprocessor that raises an error of its own passes here: later it fails the cells that need it, and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.contracts.defense import Preprocessed
from harness.errors import UserError, reason_of
from harness.models.batch_mates import check_batch_mates

if TYPE_CHECKING:
    from harness.contracts.defense import Preprocessor

PROBABILITY = 1e-4
"""How far rounding may take the sum of probabilities from 1."""
SAME = 1e-5
"""How far rounding may take logits of the same images from each other."""


def check_model(
    name: str, model: nn.Module, images: torch.Tensor, *, classes: int, stochastic: bool, batch_size: int = 256
) -> None:
    """Check a model by its logits of a few images [B,C,H,W] in [0,1].

    Raises: UserError for a model that fails, returns anything but logits, another number of classes, NaN or infinity,
    or probabilities. Also for logits that change from call to call although the defense does not declare that, and for
    those that depend on an image's batch-mates.
    """
    with torch.random.fork_rng():
        logits, again = (_logits(name, model, images, classes) for _ in range(2))
        if not logits.isfinite().all():
            raise UserError(f"{name}: the model returned NaN or infinity.")
        if _are_probabilities(logits):
            raise UserError(
                f"{name}: the model returns probabilities, attacks need logits. Leave out its last softmax."
            )
        _logits(name, model, images[:1], classes)
        if stochastic:  # its draws may depend on the batch: the batch size is part of a cell's identity
            return
        if (logits - again).abs().max() > SAME * logits.abs().max().clamp(min=1):
            raise UserError(
                f"{name}: the model returns other logits for the same images each time. Set stochastic = True on the "
                "defense, so that attacks average over its draws; a backbone that draws needs a defense of its own."
            )
        check_batch_mates(name, model, images, batch_size)


def check_training_mode(name: str, model: nn.Module, images: torch.Tensor, *, classes: int) -> None:
    """Check what a model returns in training mode, where some return more. It is left changed, in evaluation mode.

    Raises: UserError for a model that fails, or returns anything but logits.
    """
    model.train()
    with torch.random.fork_rng():
        _logits(f"{name}, in training", model, torch.cat([images, 1 - images]), classes)
    model.eval()


def _logits(name: str, model: nn.Module, images: torch.Tensor, classes: int) -> torch.Tensor:
    """The logits of images. Raises: UserError for a model that fails or returns anything else."""
    try:
        with torch.no_grad():
            logits = model(images)
    except (Exception, SystemExit) as error:  # a model may be anybody's
        shape = f"images of shape {list(images.shape)}"
        raise UserError(f"{name}: the model fails on {shape}: {reason_of(error)}.") from error
    if type(logits) is not torch.Tensor or logits.layout is not torch.strided or not logits.is_floating_point():
        raise UserError(
            f"{name}: expected the model to return logits alone, a tensor {[len(images), classes]} of floating point "
            f"numbers, got {_named(logits)}. Let its forward return that tensor."
        )
    if logits.shape != (len(images), classes):
        raise UserError(
            f"{name}: expected logits of shape {[len(images), classes]}, got {list(logits.shape)}. "
            f"The data set has {classes} classes."
        )
    return logits


def _named(returned: Any) -> str:
    """What a model returned, in a few words."""
    kind = type(returned).__name__
    if isinstance(returned, torch.Tensor):
        layout = "" if returned.layout is torch.strided else f", {str(returned.layout).removeprefix('torch.')}"
        return f"a {kind} of {str(returned.dtype).removeprefix('torch.')}{layout}"
    if isinstance(returned, Mapping):
        return f"a {kind} with the keys {', '.join(map(repr, list(returned)[:5])) or 'none'}"
    return f"a {kind} of {len(returned)}" if isinstance(returned, tuple | list) else f"a {kind}"


def check_preprocessor(preprocessor: Preprocessor, images: torch.Tensor) -> None:
    """Check a preprocessor by a few images [B,C,H,W] in [0,1].

    Raises: UserError when it changes their shape or returns something else each time, or when one of its surrogate
    gradients (but the costly ones) is missing, zero everywhere, or not finite.
    """
    name = preprocessor.label
    point = images.detach().clone().requires_grad_()
    try:
        once, again = (Preprocessed.of(preprocessor(batch)).images for batch in (point, images))
        alone = torch.cat([Preprocessed.of(preprocessor(image)).images for image in images.split(1)])
    except Exception:
        return
    if once.shape != images.shape:
        raise UserError(f"{name}: a preprocessor keeps the shape {list(images.shape)}, got {list(once.shape)}.")
    if not torch.equal(once.detach(), again.detach()):
        raise UserError(
            f"{name}: the preprocessor returns something else for the same images each time; "
            "its result must depend on the image alone."
        )
    if not torch.allclose(once.detach(), alone.detach(), rtol=0, atol=SAME):
        raise UserError(
            f"{name}: what the preprocessor makes of an image depends on the other images of its batch, by "
            f"{(once.detach() - alone.detach()).abs().max():.2g}; its result must depend on the image alone."
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
