"""The machine's peak rate of arithmetic and the arithmetic of an iteration, which give its share of the peak."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from ..._compiled import compiled

DEPTH = 8
"""Multiply-adds between reading a number and writing it, so many that reading and writing cost no time."""
_FLOATS = 1024
"""4 KiB, which the innermost cache of any processor holds."""
_SECONDS = 0.2
_MATRIX = 4096


def flops_per_pixel(channels: int, scheme: str, width: int) -> int:
    """Floating-point operations of one iteration per pixel, as defenses/virolbi/backends/kernels.py writes them.

    Additions, multiplications, divisions and square roots count one each, comparisons nothing. Pixels at the border
    count as all others. Per pixel and channel there are two edges and one value of u:

    - an edge: r = (u_j − u_i) − γ and z + αν·r take 5; for one channel γ = κ(z − clip(z)) takes 1 more.
    - u: u − κα((u−x) + ν(Dᵀr)) takes 8, with inertia 10.
    - u solved for: the residuals of two edges and the gradient, a cosine transform and its inverse (2·2·W),
      elimination down and up (6), and the correction (1).

    Per pixel of a colour image, shrinking takes for each of two edges over C channels 2C − 1 for ‖z_e‖², and 4 for
    κ(1 − 1/√‖z_e‖²).

    >>> flops_per_pixel(3, "paper", 32) * 32 * 32
    73728
    """
    edge = 6 if channels == 1 else 5
    of_u = {"paper": 8, "fast": 10}.get(scheme, 2 * (edge - 2) + 6 + 4 * width + 6 + 1)
    shrink = 0 if channels == 1 else 2 * (2 * channels - 1 + 4)
    return channels * (2 * edge + of_u) + shrink


def peak_flops(device: torch.device, threads: int) -> float:
    """The most float32 operations a second.

    On a CPU: fused multiply-adds on numbers in the innermost cache, on `threads` threads. On a GPU: the product of
    two large matrices, without TF32.
    """
    return _gpu_peak(device) if device.type == "cuda" else _cpu_peak(threads)


@compiled(nogil=True, fastmath={"contract"})
def _multiply_add(x: np.ndarray, factor: np.float32, summand: np.float32, times: int) -> None:
    for _ in range(times):
        for p in range(x.size):
            value = x[p]
            for _ in range(DEPTH):
                value = value * factor + summand
            x[p] = value


def _cpu_peak(threads: int) -> float:
    """The best of five measurements."""
    times = 1000
    arrays = [np.ones(_FLOATS, np.float32) for _ in range(threads)]

    def seconds(times: int) -> float:
        started = time.perf_counter()
        list(pool.map(lambda x: _multiply_add(x, np.float32(0.5), np.float32(0.5), times), arrays))
        return time.perf_counter() - started

    with ThreadPoolExecutor(threads) as pool:
        seconds(1)
        times = max(1, int(times * _SECONDS / 5 / seconds(times)))
        return 2 * DEPTH * _FLOATS * times * threads / min(seconds(times) for _ in range(5))


def _gpu_peak(device: torch.device) -> float:
    matrix = torch.rand((_MATRIX, _MATRIX), device=device)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        best = min(_product_seconds(matrix) for _ in range(6))
    finally:
        torch.set_float32_matmul_precision(precision)
    return 2 * _MATRIX**3 / best


def _product_seconds(matrix: torch.Tensor) -> float:
    torch.cuda.synchronize(matrix.device)
    started = time.perf_counter()
    torch.mm(matrix, matrix)
    torch.cuda.synchronize(matrix.device)
    return time.perf_counter() - started
