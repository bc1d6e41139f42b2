"""Checks that a model classifies each image by itself, whatever else is in its batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from harness.errors import UserError

ROUNDING = 1e-4
"""How far sums in another order may take float32 logits, as a share of the largest."""
UNITS = 64
"""The same in units of rounding, for a precision that is lower."""
MOST = 0.1
"""No rounding counts for more."""
LARGEST_BATCH = 2**20
"""Values in the largest batch that is tried: 341 images of 3×32×32."""
AMPLIFIED = 100
"""How many times as far as images that differ in their last bit."""


def check_batch_mates(name: str, model: nn.Module, images: torch.Tensor, batch_size: int) -> None:
    """Check that an image's logits are the same alone and among others.

    images: a few, [B,C,H,W] in [0,1]
    batch_size: images in a batch when the model is scored; as many are tried at once, of large ones fewer

    They may differ by what rounding may do: a share of the largest logit, or more for a model that makes a difference
    in the last bit of an image as large.
    Raises: UserError naming the first layer whose output depends on the batch.
    """
    others = min(batch_size, LARGEST_BATCH // images[0].numel()) - len(images)
    batch = torch.cat([*(1 - images).split(1) * max(1, others // len(images)), images.flip(0)])
    alone = torch.cat([_outputs(model, image[None]) for image in images])
    together = _outputs(model, images)
    mixed = _outputs(model, batch)[-len(images) :].flip(0)
    difference = torch.maximum((together - alone).abs(), (mixed - alone).abs()).amax(1)
    epsilon = _precision(images, [alone])
    if difference.max() <= _bound(model, images, together, epsilon):
        return
    place = int(difference.argmax())
    traces = _trace(model, images[place : place + 1]), _trace(model, batch)
    epsilon = max(epsilon, _precision(images, (layer.output for layer in traces[0])))
    if difference.max() <= _bound(model, images, together, epsilon):
        return
    layer = _first_different(*traces, len(batch) - 1 - place, _share(epsilon))
    raise UserError(
        f"{name}: the model's logits of an image depend on the other images in its batch{layer}; every accuracy would "
        "depend on --batch-size. In evaluation mode a network must treat each image by itself: batch norm, for "
        "example, by its running statistics."
    )


class _Layer(NamedTuple):
    """What a layer returned for a batch."""

    name: str
    kind: str
    output: torch.Tensor


@torch.no_grad()
def _outputs(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return model(images)


def _bound(model: nn.Module, images: torch.Tensor, logits: torch.Tensor, epsilon: float) -> torch.Tensor:
    """How far rounding may take logits."""
    signs = 2 * torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(0)).to(images) - 1
    nudged = _outputs(model, images * (1 + epsilon * signs))
    return torch.maximum(_share(epsilon) * logits.abs().max(), AMPLIFIED * (nudged - logits).abs().max())


def _share(epsilon: float) -> float:
    return min(max(ROUNDING, UNITS * epsilon), MOST)


def _precision(images: torch.Tensor, tensors: Iterable[torch.Tensor]) -> float:
    """The coarsest unit of rounding that these were computed with."""
    units = [torch.finfo(each.dtype).eps for each in tensors if each.is_floating_point()]
    if images.device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        units.append(2.0**-10)  # what convolutions take of float32 there
    return max(units, default=torch.finfo(torch.float32).eps)


@torch.no_grad()
def _trace(model: nn.Module, images: torch.Tensor) -> list[_Layer]:
    """What every layer returned, in the order in which they ended."""
    layers: list[_Layer] = []

    def noting(name: str) -> Any:
        def note(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                layers.append(_Layer(name, type(module).__name__, output.detach().clone()))

        return note

    hooks = [module.register_forward_hook(noting(name)) for name, module in model.named_modules() if name]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return layers


def _first_different(alone: list[_Layer], among: list[_Layer], row: int, share: float) -> str:
    """The first layer whose output for an image is another in a batch, where it has this row; "" where none shows."""
    for single, several in zip(alone, among, strict=False):
        comparable = single.name == several.name and several.output.shape[:1] > torch.Size([row])
        if comparable and single.output.shape[1:] == several.output.shape[1:]:
            one, other = single.output[0].float(), several.output[row].float()
            if (one - other).abs().max() > share * one.abs().max().clamp(min=1e-6):
                return f", from its layer {single.name} ({single.kind}) on"
    return ""
