"""Applies a library's function of one picture to a batch of tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch


def each_picture(images: torch.Tensor, change: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
    """`change` applied to every image, clipped to [0,1]: shape, type and device as given, without a gradient.

    images: [B,C,H,W]
    change: from and to [H,W,C] float32 in [0,1]; the result may lack the axis of a single channel
    """
    pictures = np.ascontiguousarray(images.detach().permute(0, 2, 3, 1).cpu().numpy(), np.float32)
    changed = np.empty_like(pictures)
    for row, picture in enumerate(pictures):
        changed[row] = change(picture).reshape(picture.shape)
    return torch.from_numpy(changed).clamp_(0, 1).permute(0, 3, 1, 2).to(images).contiguous()
