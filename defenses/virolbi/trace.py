"""What a backend hands back: every image at every stop of its path."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from .settings import Settings


class Trace(NamedTuple):
    """B images at L stops each.

    images: [B,L,C,H,W], ũ before clipping · labels: [B,L,H,W] int32, components in raster order
    counts: [B,L] int64, edges in the support · iterations: [B,L] int64
    """

    images: torch.Tensor
    labels: torch.Tensor
    counts: torch.Tensor
    iterations: torch.Tensor

    @classmethod
    def empty(cls, images: torch.Tensor, stops: int) -> Trace:
        """Room for the trace of `images` [B,C,H,W]."""
        count, channels, height, width = images.shape
        return cls(
            images.new_empty((count, stops, channels, height, width)),
            images.new_zeros((count, stops, height, width), dtype=torch.int32),
            images.new_zeros((count, stops), dtype=torch.int64),
            images.new_zeros((count, stops), dtype=torch.int64),
        )


class Backend(Protocol):
    """The three operations of the method; `reference` says what each must give."""

    def trace(self, images: torch.Tensor, stops: torch.Tensor, settings: Settings, max_iterations: int) -> Trace:
        """Iterate until the support has `stops[b,l]` edges, and project there."""

    def components(self, cut_horizontal: torch.Tensor, cut_vertical: torch.Tensor) -> torch.Tensor:
        """[B,H,W] int32: the components of the pixels joined by uncut edges, in raster order."""

    def component_means(self, values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Every pixel's mean over its component, per channel."""
