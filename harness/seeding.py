"""Random numbers by name: every purpose has a stream of its own, and none is global."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed for a named purpose; different names give independent streams.

    >>> derive(0, "training") != derive(0, "attack") != derive(1, "attack")
    True
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *names: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on a device, seeded for a named purpose."""
    return torch.Generator(device=device).manual_seed(derive(seed, *names))


def uniform_rows(shape: tuple[int, ...], seed: int, name: str, indices: np.ndarray) -> torch.Tensor:
    """Uniform numbers in [−1,1], [B,*shape] float32; row i depends only on the seed, the name and indices[i]."""
    rows = [np.random.default_rng(derive(seed, name, int(i))).uniform(-1, 1, shape) for i in indices]
    return torch.from_numpy(np.stack(rows).astype(np.float32))
