"""The CPU backend: Numba kernels, images shared out over as many threads as PyTorch uses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from . import kernels
from .settings import Settings
from .trace import Trace


def trace(images: torch.Tensor, stops: torch.Tensor, settings: Settings, max_iterations: int) -> Trace:
    """As `reference.trace`; each image is worked on alone, so neither threads nor batch-mates change a bit of it."""
    found = Trace.empty(images, stops.shape[1])
    x, limits = images.numpy(), stops.numpy()
    results = [part.numpy() for part in found]
    constants = _constants(settings)

    def one(b: int) -> None:
        kernels.trace_one(x[b], limits[b], max_iterations, constants, *(part[b] for part in results))

    _for_each(one, len(images))
    return found


def components(cut_horizontal: torch.Tensor, cut_vertical: torch.Tensor) -> torch.Tensor:
    """As `reference.components`, by union-find."""
    count, height, width = len(cut_vertical), cut_horizontal.shape[1], cut_vertical.shape[2]
    labels = np.empty((count, height, width), np.int32)
    horizontal, vertical = (cut.contiguous().numpy() for cut in (cut_horizontal, cut_vertical))
    _for_each(lambda b: kernels.label_components(horizontal[b], vertical[b], labels[b]), count)
    return torch.from_numpy(labels)


def component_means(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """As `reference.component_means`."""
    out = torch.empty_like(values, memory_format=torch.contiguous_format)
    source, parts, target = values.contiguous().numpy(), labels.contiguous().numpy(), out.numpy()
    _for_each(lambda b: kernels.fill_means(source[b], parts[b], target[b]), len(values))
    return out


def _constants(settings: Settings) -> kernels.Constants:
    kappa, nu, alpha = settings
    factors = (kappa, nu, kappa * alpha, alpha * nu)
    return kernels.Constants(*(np.float32(factor) for factor in factors))


def _for_each(work: Callable[[int], None], count: int) -> None:
    """Call `work(0)` … `work(count − 1)`; the kernels release the GIL, so that Python's own threads suffice."""
    workers = min(torch.get_num_threads(), count)
    if workers <= 1:
        for b in range(count):
            work(b)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, range(count)):
            pass
