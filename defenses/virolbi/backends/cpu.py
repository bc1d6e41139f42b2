"""The CPU backend: Numba kernels, with the images divided among as many threads as PyTorch uses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from ..method.reference import cosines, path_eigenvalues
from ..method.settings import Settings
from ..method.trace import SolverState, Trace
from . import kernels
from .kernel_types import Constants, ImageState, Solver, Unprojected
from .kernels_projection import fill_images, label_images

_CALL = 8
"""Images per call of a kernel: enough to make the call cheap, few enough to keep all threads busy."""
_VALUES_BETWEEN_CHECKS = 2**29
"""Values updated between two checks for an interruption: some quarter of a second's work."""
_interrupted = 0
"""How often `interrupt` was called."""
_NO_TABLES = Solver(*(np.empty((0, 0), np.float32),) * 3)


def trace(
    images: torch.Tensor, stops: torch.Tensor, settings: Settings, max_iterations: int, state: SolverState | None = None
) -> Trace:
    """As `reference.trace`; each image is computed by itself, so neither threads nor batch-mates change a bit of it."""
    result = Trace.empty(images, stops.shape[1])
    constants, solver = kernel_constants(settings, images), solver_tables(settings, *images.shape[-2:])
    unchecked, interruptions = _VALUES_BETWEEN_CHECKS // images[0].numel(), _interrupted

    def follow(x: np.ndarray, targets: np.ndarray, at: ImageState, out: Unprojected) -> None:
        if unchecked >= max_iterations:
            kernels.trace_images(x, targets, max_iterations, constants, solver, at, out)
            return
        for stop in range(targets.shape[1]):  # of a single image, some iterations at a time
            at_stop = Unprojected(*(part[:, stop : stop + 1].copy() for part in out))
            limit = -1
            while limit < max_iterations and (limit < 0 or at_stop.counts[0, 0] < targets[0, stop]):
                if _interrupted != interruptions:
                    raise KeyboardInterrupt
                limit = min(max_iterations, int(at.iterations[0]) + unchecked)
                kernels.trace_images(x, targets[:, stop : stop + 1].copy(), limit, constants, solver, at, at_stop)
            for whole, part in zip(out, at_stop, strict=True):
                whole[:, stop : stop + 1] = part

    def trace_rows(rows: slice) -> None:
        x = images[rows]
        smoothed, labels, counts, iterations = _rows(result, rows)
        at = ImageState(*(_rows(state, rows) if state is not None else _rows(SolverState.start(x), slice(None))))
        cut_right, cut_down = np.empty(labels.shape, bool), np.empty(labels.shape, bool)
        follow(x.numpy(), stops[rows].numpy(), at, Unprojected(smoothed, cut_right, cut_down, counts, iterations))
        stages, parts = smoothed.reshape(-1, *x.shape[1:]), labels.reshape(-1, *x.shape[2:])
        label_images(cut_right.reshape(parts.shape), cut_down.reshape(parts.shape), parts)
        fill_images(stages, parts, stages)

    _for_each(trace_rows, len(images), _CALL if unchecked >= max_iterations else 1)
    return result


def components(cut_horizontal: torch.Tensor, cut_vertical: torch.Tensor) -> torch.Tensor:
    """As `reference.components`, by union-find."""
    count, height, width = len(cut_vertical), cut_horizontal.shape[1], cut_vertical.shape[2]
    labels = torch.empty((count, height, width), dtype=torch.int32)
    right, down, out = cut_horizontal.contiguous().numpy(), cut_vertical.contiguous().numpy(), labels.numpy()
    _for_each(lambda rows: label_images(right[rows], down[rows], out[rows]), count)
    return labels


def component_means(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """As `reference.component_means`."""
    out = torch.empty_like(values, memory_format=torch.contiguous_format)
    parts = [part.numpy() for part in (values.contiguous(), labels.contiguous(), out)]
    _for_each(lambda rows: fill_images(*(part[rows] for part in parts)), len(values))
    return out


def kernel_constants(settings: Settings, images: torch.Tensor) -> Constants:
    """The settings in the form that the kernels take."""
    return Constants(
        np.float32(settings.kappa),
        np.float32(settings.nu),
        np.float32(settings.u_step),
        np.float32(settings.z_step),
        np.float32(settings.inertia),
        gray=images.shape[1] == 1,
        exact=settings.scheme == "exact",
    )


def solver_tables(settings: Settings, height: int, width: int) -> Solver:
    """What the kernels need to solve (I + νDᵀD)u = b; empty unless they do."""
    return _tables(settings.nu, height, width) if settings.scheme == "exact" else _NO_TABLES


@functools.lru_cache(maxsize=4)
def _tables(nu: float, height: int, width: int) -> Solver:
    waves = cosines(width).numpy()
    diagonal = 1 + nu * path_eigenvalues(width).numpy()
    pivots = np.empty((height, width))
    carried = np.zeros(width)
    for i in range(height):
        neighbours = (i > 0) + (i < height - 1)
        pivots[i] = 1 / (diagonal + nu * neighbours - carried)
        carried = nu**2 * pivots[i]
    return Solver(*(np.ascontiguousarray(table, np.float32) for table in (waves.T, waves, pivots)))


def _rows(parts: Iterable[torch.Tensor], rows: slice) -> list[np.ndarray]:
    """Those rows of a state or trace, sharing their memory."""
    return [part.numpy()[rows] for part in parts]


def interrupt() -> None:
    """Make all smoothing of large images in this process raise KeyboardInterrupt soon.

    Python delivers Ctrl-C to the main thread alone.
    """
    global _interrupted
    _interrupted += 1


def _for_each(work: Callable[[slice], None], count: int, call: int = _CALL) -> None:
    """Call `work` on slices that make up range(count); the kernels release the GIL, so Python's own threads suffice."""
    workers = min(torch.get_num_threads(), count)
    size = min(call, -(-count // max(workers, 1)))
    parts = [slice(start, start + size) for start in range(0, count, max(size, 1))]
    if workers <= 1:
        for part in parts:
            work(part)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        for _ in pool.map(work, parts):
            pass
    except KeyboardInterrupt:
        interrupt()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a thread that compiles cannot be interrupted
