"""The CUDA backend: each small image in a thread block of its own, larger images a whole batch at a time.

The kernels are in cuda_source. They compute in the CPU backend's order, and so give the same bits.
"""

from __future__ import annotations

import ctypes
import functools
from typing import NamedTuple

import numpy as np
import torch

from ..method import reference
from ..method.reference import Edges, support_size
from ..method.settings import Settings
from ..method.trace import SolverState, Trace
from .cuda_driver import Kernels

GROUP_PIXELS = 2**25
"""Pixels in memory at once, over all images and stops, each some 150 bytes; no result depends on it."""
LAUNCHES = 64
"""Iterations of large images between two checks of which have reached a stop."""
_LANES, _ROWS, _BLOCK_THREADS = 32, 4, 512
"""A block that holds a whole image: lanes of a warp, rows of pixels for each warp, and the most threads."""
_THREADS, _LABEL_THREADS = 256, 512
_ENDLESS = 2**31 - 1


class Unprojected(NamedTuple):
    """B images at L stops each, before the projection."""

    u: torch.Tensor
    """[B,L,C,H,W]"""
    cut_horizontal: torch.Tensor
    """[B,L,H,W−1] bool: the horizontal edges in the support."""
    cut_vertical: torch.Tensor
    """[B,L,H−1,W] bool: the vertical ones."""
    sizes: torch.Tensor
    """[B,L] int64: edges in the support."""
    iterations: torch.Tensor
    """[B,L] int64"""


def trace(
    images: torch.Tensor, stops: torch.Tensor, settings: Settings, max_iterations: int, state: SolverState | None = None
) -> Trace:
    """As `reference.trace`, and the same bits as `cpu.trace`; `exact` is left to the reference."""
    if settings.scheme == "exact":
        return reference.trace(images, stops, settings, max_iterations, state)
    result = Trace.empty(images, stops.shape[1])
    images, stops = images.contiguous(), stops.contiguous()
    size = max(1, GROUP_PIXELS // (images.shape[2] * images.shape[3] * stops.shape[1]))
    for rows in (slice(first, first + size) for first in range(0, len(images), size)):
        given = SolverState.start(images[rows]) if state is None else (part[rows] for part in state)
        paths = SolverState(*(part.contiguous() for part in given))
        part = Trace(*(values[rows] for values in result))
        _trace_group(images[rows], stops[rows], settings, min(max_iterations, _ENDLESS), paths, part)
        if state is not None:
            for whole, moved in zip(state, paths, strict=True):
                whole[rows] = moved
    return result


def components(cut_horizontal: torch.Tensor, cut_vertical: torch.Tensor) -> torch.Tensor:
    """As `reference.components`, by union-find."""
    count, height, width = len(cut_vertical), cut_horizontal.shape[1], cut_vertical.shape[2]
    roots = torch.empty((count, height * width), dtype=torch.int32, device=cut_vertical.device)
    if roots.numel():
        cuts = cut_horizontal.contiguous(), cut_vertical.contiguous()
        _projection(roots.device).launch("find_roots", count, _LABEL_THREADS, *cuts, roots, height, width)
    own = torch.arange(height * width, device=roots.device)
    rank = (roots == own).cumsum(1) - 1
    return rank.gather(1, roots.long()).view(count, height, width).int()


def component_means(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """As `reference.component_means`, every component summed in raster order; float64 is left to the reference."""
    if values.dtype != torch.float32:
        return reference.component_means(values, labels)
    count, channels, height, width = values.shape
    means = torch.empty_like(values, memory_format=torch.contiguous_format)
    if means.numel():
        sorted_labels, order = labels.reshape(count, -1).int().sort(dim=1, stable=True)
        blocks = _blocks_for(height * width)
        tensors = values.contiguous(), order, sorted_labels, means
        number = count * channels * blocks
        _projection(values.device).launch(
            "average_components", number, _THREADS, *tensors, channels, height * width, blocks
        )
    return means


@functools.cache
def _iteration(device: torch.device, channels: int, inertia: bool) -> Kernels:
    return Kernels(device, "iteration.cu", *options_for(channels, inertia))


def options_for(channels: int, inertia: bool) -> tuple[str, ...]:
    """The compiler's options for iteration.cu."""
    return f"-DCHANNELS={channels}", f"-DINERTIA={int(inertia)}", f"-DROWS={_ROWS}", f"-DBLOCK_THREADS={_BLOCK_THREADS}"


@functools.cache
def _projection(device: torch.device) -> Kernels:
    return Kernels(device, "projection.cu")


def _trace_group(
    x: torch.Tensor, stops: torch.Tensor, settings: Settings, max_iterations: int, paths: SolverState, trace: Trace
) -> None:
    """Follow the paths of x [B,C,H,W] in place, and fill in their trace."""
    count, number = stops.shape
    cuts = [
        z.new_empty((count, number, *z.shape[2:]), dtype=torch.bool) for z in (paths.z_horizontal, paths.z_vertical)
    ]
    unprojected = Unprojected(trace.images, cuts[0], cuts[1], trace.counts, trace.iterations)
    fits_block = x.shape[-1] <= _LANES and _strips(x.shape[-2]) * _LANES <= _BLOCK_THREADS
    follow = _follow_in_blocks if fits_block else _follow_in_grid
    follow(x, stops, settings, max_iterations, paths, unprojected)
    labels = components(*(cut.flatten(0, 1) for cut in cuts))
    trace.images.copy_(component_means(unprojected.u.flatten(0, 1), labels).view_as(unprojected.u))
    trace.labels.copy_(labels.view_as(trace.labels))


def _strips(height: int) -> int:
    return -(-height // _ROWS)


def _blocks_for(pixels: int) -> int:
    return -(-pixels // _THREADS)


def _factors(settings: Settings) -> ctypes.Array[ctypes.c_float]:
    values = settings.kappa, settings.nu, settings.u_step, settings.z_step, settings.inertia
    return (ctypes.c_float * len(values))(*values)


def _follow_in_blocks(
    x: torch.Tensor, stops: torch.Tensor, settings: Settings, max_iterations: int, paths: SolverState, out: Unprojected
) -> None:
    """All paths from start to end in one launch."""
    _, channels, height, width = x.shape
    strips, number = _strips(height), stops.shape[1]
    states = (ctypes.c_void_p * 4)(*(part.data_ptr() for part in paths[:4]))
    inputs = x, states, paths.iterations, stops, number, max_iterations, _factors(settings), height, width
    ends = 2 * strips * 2 * channels * _LANES * 4
    _iteration(x.device, channels, settings.inertia > 0).launch(
        "trace_in_blocks", len(x), strips * _LANES, *inputs, *out, shared_bytes=ends
    )


def _follow_in_grid(
    x: torch.Tensor, stops: torch.Tensor, settings: Settings, max_iterations: int, paths: SolverState, out: Unprojected
) -> None:
    """The whole batch step by step; images that have reached a stop pause until the next check."""
    batch = PausableBatch(x, settings, paths)
    targets = stops.cpu().numpy()
    due = np.zeros(len(x), int)
    batch.resume(np.arange(len(x)), targets[:, 0], max_iterations)
    while (due < targets.shape[1]).any():
        batch.advance(LAUNCHES)
        rows = batch.paused()
        if len(rows):
            support = batch.support(rows)
            finished = batch.iterations[rows] >= max_iterations
            for stop in range(targets.shape[1]):
                reached = (due[rows] == stop) & (finished | (batch.sizes[rows] >= targets[rows, stop]))
                _record(batch, rows, reached, stop, support, out)
                due[rows[reached]] += 1
            unfinished = rows[due[rows] < targets.shape[1]]
            batch.resume(unfinished, targets[unfinished, due[unfinished]], max_iterations)
    batch.save(paths)


def _record(
    batch: PausableBatch, rows: np.ndarray, reached: np.ndarray, stop: int, support: Edges, out: Unprojected
) -> None:
    """Copy out those of the paused `rows` that have `reached` the stop."""
    there = rows[reached]
    place = (torch.as_tensor(there), stop)
    out.u[place] = batch.states(there)[:, 0]
    for target, cut in zip(out[1:3], support, strict=True):
        target[place] = cut[torch.as_tensor(reached)]
    out.sizes[place] = torch.as_tensor(batch.sizes[there]).to(out.sizes)
    out.iterations[place] = torch.as_tensor(batch.iterations[there]).to(out.sizes)


class PausableBatch:
    """A batch of large images; grid.h says how the launches counted here steer an image.

    iterations: [B], those of each image when it last paused
    sizes: [B], the size of its support at that iteration
    """

    def __init__(self, x: torch.Tensor, settings: Settings, paths: SolverState) -> None:
        self._x, self._factors = x, _factors(settings)
        inertia = settings.inertia > 0
        self._kernels = _iteration(x.device, x.shape[1], inertia)
        self._blocks = _blocks_for(x[0, 0].numel())
        self._buffers = x.new_zeros(
            (2, len(x), 4 if inertia else 3, *x.shape[1:])
        )  # the state before launch n is in n % 2
        self._controls = torch.zeros((len(x), 6), dtype=torch.int32, device=x.device)  # stop, limit, paused_at, sizes
        self._launch = 0
        self._paused_at = np.zeros(len(x), int)
        self._resumed_at = np.zeros(len(x), int)
        self._load(paths)
        self.iterations = paths.iterations.cpu().numpy().copy()
        self.sizes = support_size(self.support(np.arange(len(x)))).cpu().numpy()

    def advance(self, launches: int) -> None:
        """One iteration a launch of every image that has not paused."""
        height, width = self._x.shape[-2:]
        for _ in range(launches):
            source, target = self._buffers[self._launch % 2], self._buffers[1 - self._launch % 2]
            arguments = self._x, source, target, self._controls, self._launch, self._factors, height, width
            number = self._blocks * len(self._x)
            self._kernels.launch("advance_in_grid", number, _THREADS, *arguments, self._blocks)
            self._launch += 1

    def paused(self) -> np.ndarray:
        """The rows of images that have newly paused, whose `iterations` and `sizes` are brought up to date."""
        controls = self._controls.cpu().numpy()
        rows = np.flatnonzero(controls[:, 2] >= 0)
        fresh = rows[self._resumed_at[rows] >= 0]
        at = controls[fresh, 2]
        self._paused_at[fresh] = at
        self.iterations[fresh] += at - self._resumed_at[fresh]
        self.sizes[fresh] = controls[fresh, 3 + at % 3]
        self._resumed_at[fresh] = -1
        return fresh

    def resume(self, rows: np.ndarray, stops: np.ndarray, max_iterations: int) -> None:
        """Let paused images continue until their support has `stops` edges, or to the last iteration."""
        now = self._launch
        moved = rows[self._paused_at[rows] % 2 != now % 2]
        self._buffers[now % 2, torch.as_tensor(moved)] = self._buffers[1 - now % 2, torch.as_tensor(moved)]
        controls = np.zeros((len(rows), 6), np.int32)
        controls[:, 0] = stops
        controls[:, 1] = np.minimum(now + max_iterations - self.iterations[rows], _ENDLESS)
        controls[:, 2] = -1
        controls[:, 3 + now % 3] = self.sizes[rows]
        self._controls[torch.as_tensor(rows)] = torch.as_tensor(controls).to(self._controls)
        self._resumed_at[rows] = now

    def states(self, rows: np.ndarray) -> torch.Tensor:
        """[N,3 or 4,C,H,W] of paused images: u, z to the right, z downwards, and with inertia the velocity."""
        return self._buffers[torch.as_tensor(self._paused_at[rows] % 2), torch.as_tensor(rows)]

    def support(self, rows: np.ndarray) -> Edges:
        """[N,H,W−1] and [N,H−1,W] bool: the supports of paused images."""
        (height, width), states = self._x.shape[-2:], self.states(rows)
        shapes = (height, width - 1), (height - 1, width)
        cuts = Edges(*(states.new_empty((len(rows), *shape), dtype=torch.bool) for shape in shapes))
        number = len(rows) * self._blocks
        arguments = *cuts, self._factors, height, width, self._blocks
        self._kernels.launch("find_support", number, _THREADS, states, *arguments)
        return cuts

    def save(self, paths: SolverState) -> None:
        """Write the paused states of all images back into their paths."""
        states = self.states(np.arange(len(self._x)))
        paths.u.copy_(states[:, 0])
        paths.z_horizontal.copy_(states[:, 1, :, :, :-1])
        paths.z_vertical.copy_(states[:, 2, :, :-1])
        if states.shape[1] == 4:
            paths.velocity.copy_(states[:, 3])
        paths.iterations.copy_(torch.as_tensor(self.iterations))

    def _load(self, paths: SolverState) -> None:
        self._buffers[0, :, 0] = paths.u
        self._buffers[0, :, 1, :, :, :-1] = paths.z_horizontal
        self._buffers[0, :, 2, :, :-1] = paths.z_vertical
        if self._buffers.shape[2] == 4:
            self._buffers[0, :, 3] = paths.velocity
