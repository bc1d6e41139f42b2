"""The surrogate gradient `unrolled`: the derivative of the last iterations, followed by that of the projection."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from ..method.reference import Edges, Iterate, shrink, step
from ..method.settings import Settings, make_settings
from ..projection import component_means
from ..smoothing import Smoothed, path, smooth

STEPS = 50
"""Iterations differentiated by default; with the steps taken here, a path takes a few hundred."""
_SHARE = 0.9
"""Share of the bound on the step of `fast`."""


def attach_unrolled(
    images: torch.Tensor,
    smoothed: Smoothed[torch.Tensor],
    *,
    level: float,
    nu: float,
    kappa: float,
    steps: int = STEPS,
) -> torch.Tensor:
    """The smoothed images of `images`, with the derivative of the last `steps` iterations that lead to them (0: all).

    ũ = P·u: the projection P is fixed, and u is differentiated by its iterations, where z and the support follow the
    image. The iterations are those of the scheme `fast`, whose path takes the fewest.
    images: [B,C,H,W] in [0,1].
    steps: larger follows an influence further back, and takes more memory.
    """
    result: torch.Tensor = _Unrolled.apply(images, smoothed.images, smoothed.labels, (level, nu, kappa, steps))
    return result


class _Unrolled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: torch.Tensor, smoothed: torch.Tensor, labels: torch.Tensor, options: tuple[Any, ...]
    ) -> torch.Tensor:
        ctx.save_for_backward(images, labels)
        ctx.options = options
        return smoothed.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        images, labels = ctx.saved_tensors
        level, nu, kappa, steps = ctx.options
        of_u = component_means(gradient.contiguous(), labels)
        return iteration_vjp(images, of_u, level=level, nu=nu, kappa=kappa, steps=steps), None, None, None


def iteration_vjp(
    images: torch.Tensor, of_u: torch.Tensor, *, level: float, nu: float, kappa: float, steps: int
) -> torch.Tensor:
    """The gradient of_uᵀ·du/dx [B,C,H,W], for the u at which the path of each image reaches `level`.

    of_u: the gradient with respect to u, [B,C,H,W].
    steps: how many of the last iterations to differentiate, 0 for all.
    An image that cannot reach the level is its own smoothed image, and the derivative is the identity.
    """
    height, width = images.shape[-2:]
    longest = _SHARE / (kappa * max(nu, 1))
    settings = make_settings(height, width, kappa=kappa, nu=nu, step=longest, scheme="fast")
    ends = smooth(images, level=level, nu=nu, kappa=kappa, step=longest, scheme="fast")
    moved = ends.iterations > 0
    if not moved.any():
        return of_u.clone()
    last = ends.iterations[moved]
    differentiated = last.clamp(max=steps) if steps else last
    at = _iterate_after(images[moved], last - differentiated, settings)
    with torch.enable_grad():
        x = images[moved].detach().requires_grad_()
        u = _advance(x, at, differentiated, settings)
        (gradient,) = torch.autograd.grad(u, x, of_u[moved])
    result = of_u.clone()
    result[moved] = gradient
    return result


def _iterate_after(images: torch.Tensor, iterations: torch.Tensor, settings: Settings) -> Iterate:
    """The path of each image after its own number of iterations [B]."""
    states = [
        path(
            image[None],
            iterations=[int(k)],
            kappa=settings.kappa,
            nu=settings.nu,
            step=settings.step,
            scheme="fast",
        ).state.state
        for image, k in zip(images, iterations, strict=True)
    ]
    u, velocity, right, down = (torch.cat(parts) for parts in list(zip(*states, strict=True))[:4])
    z = Edges(right, down)
    return Iterate(u, velocity, z, Edges(*(shrink(part, settings.kappa) for part in z)))


def _advance(x: torch.Tensor, at: Iterate, counts: torch.Tensor, settings: Settings) -> torch.Tensor:
    """u after `counts` [B] further iterations of each image."""
    for k in range(int(counts.max())):
        at = _where(k < counts, step(x, at, settings), at)
    return at.u


def _where(moving: torch.Tensor, new: Iterate, old: Iterate) -> Iterate:
    """The new iterates of the images that move, the old ones of the others."""
    rows = moving[:, None, None, None]
    u, velocity = torch.where(rows, new.u, old.u), torch.where(rows, new.velocity, old.velocity)
    z, gamma = (Edges(*(torch.where(rows, n, o) for n, o in zip(a, b, strict=True)))
                for a, b in ((new.z, old.z), (new.gamma, old.gamma)))  # fmt: skip
    return Iterate(u, velocity, z, gamma)
