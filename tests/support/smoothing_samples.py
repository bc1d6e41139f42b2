"""Images to smooth, the backends that run on any machine, and the difference operator as a matrix."""

from __future__ import annotations

import numpy as np
import torch

BACKENDS = ("cpu", "reference")
SHAPES = [(1, 1, 9), (1, 9, 1), (3, 1, 6), (3, 5, 1), (1, 7, 6), (3, 8, 5), (3, 16, 16)]


def random_images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pictures(count: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Coarse blocks under fine noise, all pixels different."""
    coarse = random_images(count, channels, -(-height // 4), -(-width // 4), seed=seed)
    blocks = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, :height, :width]
    return 0.8 * blocks + 0.2 * random_images(count, channels, height, width, seed=seed + 1)


def difference_matrix(height: int, width: int) -> np.ndarray:
    """D [E,N], the horizontal edges first, both kinds row by row."""
    across, down = np.diff(np.eye(width), axis=0), np.diff(np.eye(height), axis=0)
    return np.concatenate([np.kron(np.eye(height), across), np.kron(down, np.eye(width))])
