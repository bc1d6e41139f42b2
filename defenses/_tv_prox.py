"""Compiled code of the TV layer: the exact proximal map of one-dimensional total variation, and its derivative.

Imported only when a TV layer first computes, since Numba is slow to import.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from ._compiled import compiled

SMALLEST_JUMP = 1e-5
"""A smaller difference of neighbours is rounding, not an edge: the derivative counts them as one constant run."""
WORTH_A_THREAD = 2**15
"""Pixels below which handing work to other threads costs more than it saves."""


class ProxGradients(NamedTuple):
    """Derivatives of a scalar by the prox's input [P,R,L] and by its strengths [P]."""

    planes: np.ndarray
    strength: np.ndarray


def prox_rows(planes: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """argmin_y ½‖y−x‖² + λ Σ|y_{i+1}−y_i| for every row x of `planes`.

    Exact up to rounding, in time linear in the number of pixels.

    planes: [P,R,L], P planes of R rows, float32 or float64, any strides
    strength: λ ≥ 0 of each plane, [P], of the same type; a larger λ leaves fewer, longer constant runs
    Source: N. A. Johnson, "A dynamic programming algorithm for the fused lasso and
    L0-segmentation", JCGS 22(2), 2013.
    """
    out = np.empty_like(planes)
    _in_threads(_prox_planes, planes, strength, out)
    return out


def prox_rows_backward(output: np.ndarray, gradient: np.ndarray) -> ProxGradients:
    """The derivative of `prox_rows` at its own output, applied to a gradient [P,R,L] by that output.

    A run S of equal values is y_S = mean_S(x) + λ(s_right − s_left)/|S|, s the signs of the jumps that bound it (0
    at a border), so the input's gradient is the run's mean of the incoming one, and λ's adds it up over the jumps.
    """
    gradients = ProxGradients(np.empty_like(output), np.zeros(len(output), output.dtype))
    _in_threads(_backward_planes, output, gradient, gradients.planes, gradients.strength)
    return gradients


def _in_threads(kernel: Callable[..., None], *arrays: np.ndarray) -> None:
    """Run a kernel that releases the interpreter lock over slices of the arrays' first axis."""
    workers = torch.get_num_threads()
    if workers == 1 or arrays[0].size < WORTH_A_THREAD:
        kernel(*arrays)
        return
    edges = np.linspace(0, len(arrays[0]), workers + 1).astype(int)
    jobs = [_pool(workers).submit(kernel, *(a[i:j] for a in arrays)) for i, j in itertools.pairwise(edges)]
    for job in jobs:
        job.result()


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="tv-prox")


if hasattr(os, "register_at_fork"):  # a forked child inherits the pool, but none of its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


@compiled(nogil=True, error_model="numpy")
def _prox_row(
    x: np.ndarray, strength: float, y: np.ndarray, knots: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """One row. With f_i(β) the least cost of x_0…x_i when y_i = β, its derivative is

        f_i'(β) = β − x_i + clip(f_{i−1}'(β), −λ, λ),

    increasing and piecewise linear. It lies within ±λ on [low_i, high_i], so y_i = clip(y_{i+1}, low_i, high_i),
    and the last y is the root of the last f'. knots[left:right+1] hold the bends of f' in ascending order: where,
    and by how much slope and offset change there. Each is added once and removed at most once: linear time.
    """
    count = len(x)
    left, right = count, count - 1
    for i in range(count):
        before = strength if i > 0 else 0.0
        bound = strength if i < count - 1 else 0.0
        rise, lift = 1.0, -before - x[i]
        while left <= right and rise * knots[left, 0] + lift < -bound:
            rise += knots[left, 1]
            lift += knots[left, 2]
            left += 1
        fall, drop = 1.0, before - x[i]
        while left <= right and fall * knots[right, 0] + drop > bound:
            fall -= knots[right, 1]
            drop -= knots[right, 2]
            right -= 1
        low[i], high[i] = (-bound - lift) / rise, (bound - drop) / fall
        left, right = left - 1, right + 1
        knots[left, 0], knots[left, 1], knots[left, 2] = low[i], rise, lift + bound
        knots[right, 0], knots[right, 1], knots[right, 2] = high[i], -fall, bound - drop
    value = low[count - 1]
    for i in range(count - 1, -1, -1):
        value = min(max(value, low[i]), high[i])
        y[i] = value


@compiled(
    ["void(float32[:,:,:], float32[:], float32[:,:,:])", "void(float64[:,:,:], float64[:], float64[:,:,:])"],
    nogil=True,
)
def _prox_planes(planes: np.ndarray, strength: np.ndarray, out: np.ndarray) -> None:
    """Every row of every plane; inside a row the arithmetic is in double precision whatever comes in."""
    length = planes.shape[2]
    row, low, high = np.empty(length), np.empty(length), np.empty(length)
    knots = np.empty((2 * length, 3))
    for plane in range(planes.shape[0]):
        for i in range(planes.shape[1]):
            row[:] = planes[plane, i]
            _prox_row(row, float(strength[plane]), out[plane, i], knots, low, high)


@compiled(nogil=True)
def _backward_row(y: np.ndarray, gradient: np.ndarray, by_input: np.ndarray) -> float:
    """Fill one row of the input's gradient; returns λ's."""
    start, previous, by_strength = 0, 0.0, 0.0
    while start < len(y):
        stop = start + 1
        total = float(gradient[start])
        while stop < len(y) and abs(y[stop] - y[stop - 1]) < SMALLEST_JUMP:
            total += gradient[stop]
            stop += 1
        mean = total / (stop - start)
        by_input[start:stop] = mean
        if start > 0:
            by_strength += (previous - mean) * np.sign(y[start] - y[start - 1])
        start, previous = stop, mean
    return by_strength


@compiled(
    [
        "void(float32[:,:,:], float32[:,:,:], float32[:,:,:], float32[:])",
        "void(float64[:,:,:], float64[:,:,:], float64[:,:,:], float64[:])",
    ],
    nogil=True,
)
def _backward_planes(output: np.ndarray, gradient: np.ndarray, by_input: np.ndarray, by_strength: np.ndarray) -> None:
    """Every row of every plane; a plane's λ collects from all its rows."""
    for plane in range(output.shape[0]):
        total = 0.0
        for i in range(output.shape[1]):
            total += _backward_row(output[plane, i], gradient[plane, i], by_input[plane, i])
        by_strength[plane] = total
