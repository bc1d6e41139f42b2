"""What a backend takes and returns: the state of paths, and every image at every stop of its path."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from .settings import Settings


class SolverState(NamedTuple):
    """The paths of B images: all that is needed to continue them."""

    u: torch.Tensor
    """[B,C,H,W]"""
    velocity: torch.Tensor
    """[B,C,H,W]: the last change of u, 0 without inertia."""
    z_horizontal: torch.Tensor
    """[B,C,H,W−1]"""
    z_vertical: torch.Tensor
    """[B,C,H−1,W]"""
    iterations: torch.Tensor
    """[B] int64"""

    @classmethod
    def start(cls, images: torch.Tensor) -> SolverState:
        """u = z = 0, for images [B,C,H,W]."""
        count, channels, height, width = images.shape
        return cls(
            torch.zeros_like(images),
            torch.zeros_like(images),
            images.new_zeros((count, channels, height, width - 1)),
            images.new_zeros((count, channels, height - 1, width)),
            images.new_zeros(count, dtype=torch.int64),
        )


class Trace(NamedTuple):
    """B images at L stops each."""

    images: torch.Tensor
    """[B,L,C,H,W]: ũ before clipping."""
    labels: torch.Tensor
    """[B,L,H,W] int32: components in raster order."""
    counts: torch.Tensor
    """[B,L] int64: edges in the support."""
    iterations: torch.Tensor
    """[B,L] int64"""

    @classmethod
    def empty(cls, images: torch.Tensor, stops: int) -> Trace:
        """A trace of `images` [B,C,H,W], to be filled in."""
        count, channels, height, width = images.shape
        return cls(
            images.new_empty((count, stops, channels, height, width)),
            images.new_zeros((count, stops, height, width), dtype=torch.int32),
            images.new_zeros((count, stops), dtype=torch.int64),
            images.new_zeros((count, stops), dtype=torch.int64),
        )


class Backend(Protocol):
    """The three operations of the method; `reference` defines their results."""

    def trace(
        self,
        images: torch.Tensor,
        stops: torch.Tensor,
        settings: Settings,
        max_iterations: int,
        state: SolverState | None = None,
    ) -> Trace:
        """Iterate until the support has `stops[b,l]` edges, and project there."""

    def components(self, cut_horizontal: torch.Tensor, cut_vertical: torch.Tensor) -> torch.Tensor:
        """[B,H,W] int32: the components of the pixels joined by uncut edges, in raster order."""

    def component_means(self, values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Every pixel's mean over its component, per channel."""
