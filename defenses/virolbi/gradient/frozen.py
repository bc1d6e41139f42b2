"""The surrogate gradient `bpda`: that of the component means, with a fixed partition."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from harness.errors import UserError

from ..projection import component_means
from ..smoothing import Smoothed, smooth


def smooth_bpda(images: torch.Tensor, **options: Any) -> torch.Tensor:
    """`smooth(images, **options).images`, with the gradient of the component means of the images.

    The partition jumps as the image changes, and has no useful derivative. With a fixed partition, smoothing takes the
    mean over each component, a linear map that is its own adjoint (backward pass differentiable approximation,
    Athalye et al. 2018).
    """
    if not isinstance(images, torch.Tensor):
        raise UserError(f"a gradient needs images in a torch tensor, got {type(images).__name__}. Use smooth.")
    return attach_gradient(images, smooth(images, **options), backend=options.get("backend"))


def attach_gradient(
    images: torch.Tensor, smoothed: Smoothed[torch.Tensor], *, backend: str | None = None
) -> torch.Tensor:
    """The smoothed images of `images`, as a function of `images` with the partition frozen."""
    result: torch.Tensor = _FrozenPartition.apply(images, smoothed.images, smoothed.labels, backend)
    return result


class _FrozenPartition(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: torch.Tensor, smoothed: torch.Tensor, labels: torch.Tensor, backend: str | None
    ) -> torch.Tensor:
        ctx.save_for_backward(labels)
        ctx.dtype, ctx.backend = images.dtype, backend
        return smoothed.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (labels,) = ctx.saved_tensors
        return component_means(gradient, labels, backend=ctx.backend).to(ctx.dtype), None, None, None
