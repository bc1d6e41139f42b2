"""Libraries that know one picture at a time, applied to a batch of tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch


def each_picture(images: torch.Tensor, change: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
    """Every image changed by itself, clipped to [0,1]: [B,C,H,W] as given, without a gradient.

    change: takes [H,W,C], float32 in [0,1], and returns the like; a single channel's axis may be missing
    """
    pictures = np.ascontiguousarray(images.detach().permute(0, 2, 3, 1).cpu().numpy(), np.float32)
    changed = np.empty_like(pictures)
    for row, picture in enumerate(pictures):
        changed[row] = change(picture).reshape(picture.shape)
    return torch.from_numpy(changed).clamp_(0, 1).permute(0, 3, 1, 2).to(images).contiguous()
