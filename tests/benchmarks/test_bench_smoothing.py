"""How fast the smoothing is, beside the loop anyone would write.

`simple` is the yardstick: the iteration as plain Numba loops over [H,W,C], no thought given to the machine. Run with

    tox run -e bench -- tests/benchmarks/test_bench_smoothing.py
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import njit

from defenses.virolbi import reference as reference_backend
from defenses.virolbi import smooth
from defenses.virolbi.settings import hessian_norm, make_settings

ITERATIONS = 500
CIFAR = Path(__file__).resolve().parents[3] / "shared/data/cifar10-jpeg/test-00000-of-00001.parquet"


@njit(error_model="numpy", nogil=True)
def simple_iterations(x, kappa, nu, alpha, count):
    """`count` iterations of Eq. 5 on x [H,W,C]; returns u and the share of edges in the support."""
    height, width, channels = x.shape
    u = np.zeros_like(x)
    z = np.zeros((2, height, width, channels), x.dtype)
    gamma, r = np.zeros_like(z), np.zeros_like(z)
    support = 0
    for _ in range(count):
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    if j + 1 < width:
                        r[0, i, j, c] = u[i, j + 1, c] - u[i, j, c] - gamma[0, i, j, c]
                    if i + 1 < height:
                        r[1, i, j, c] = u[i + 1, j, c] - u[i, j, c] - gamma[1, i, j, c]
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    gradient = -r[0, i, j, c] - r[1, i, j, c]
                    if j > 0:
                        gradient += r[0, i, j - 1, c]
                    if i > 0:
                        gradient += r[1, i - 1, j, c]
                    u[i, j, c] -= kappa * alpha * (u[i, j, c] - x[i, j, c] + nu * gradient)
        support = 0
        for direction in range(2):
            for i in range(height):
                for j in range(width):
                    squared = x.dtype.type(0)
                    for c in range(channels):
                        z[direction, i, j, c] += alpha * nu * r[direction, i, j, c]
                        squared += z[direction, i, j, c] ** 2
                    factor = max(x.dtype.type(0), 1 - 1 / np.sqrt(squared))
                    support += factor > 0
                    for c in range(channels):
                        gamma[direction, i, j, c] = kappa * factor * z[direction, i, j, c]
    return u, support / (height * (width - 1) + (height - 1) * width)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noisy_blocks(channels: int, size: int) -> torch.Tensor:
    """[1,C,H,W]: flat squares under noise."""
    rng = np.random.default_rng(0)
    blocks = rng.random((1, channels, 4, 4)).repeat(size // 4, 2).repeat(size // 4, 3)
    return torch.from_numpy((0.8 * blocks + 0.2 * rng.random(blocks.shape)).astype(np.float32))


def cifar(count: int) -> torch.Tensor:
    """The first test images, [count,3,32,32]."""
    if not CIFAR.is_file():
        pytest.skip(f"no CIFAR-10 images at {CIFAR}")
    from PIL import Image
    from pyarrow import parquet

    rows = parquet.read_table(CIFAR, columns=["img"]).slice(0, count).column("img").to_pylist()
    images = np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in rows])
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def simple(image: torch.Tensor) -> np.ndarray:
    planes = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    alpha = 1 / (5 * hessian_norm(*planes.shape[:2]))
    return simple_iterations(planes, np.float32(5), np.float32(1), np.float32(alpha), ITERATIONS)[0]


SIZES = pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 84)])


@SIZES
def test_simple_iterations(benchmark, channels, size):
    image = noisy_blocks(channels, size)
    simple(image)
    benchmark.extra_info["iterations"] = ITERATIONS

    u = benchmark(simple, image)

    unprojected = reference_path(image).u[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(u, unprojected, atol=1e-5)


@SIZES
def test_our_iterations(benchmark, channels, size):
    image = noisy_blocks(channels, size)
    smooth(image, iterations=1)
    benchmark.extra_info["iterations"] = ITERATIONS

    found = benchmark(smooth, image, iterations=ITERATIONS)

    assert int(found.iterations) == ITERATIONS


def reference_path(image: torch.Tensor) -> reference_backend.State:
    settings = make_settings(*image.shape[-2:], kappa=5.0, nu=1.0, step=None)
    state = reference_backend.start(image)
    for _ in range(ITERATIONS):
        state = reference_backend.step(image, state, settings)
    return state


@pytest.mark.parametrize("threads", [1, 2])
def test_cifar_images_to_level_06(benchmark, threads):
    images = cifar(8 if benchmark.disabled else 200)
    smooth(images[:1], iterations=1)
    torch.set_num_threads(threads)
    benchmark.extra_info["images"] = len(images)

    found = benchmark.pedantic(smooth, args=(images,), rounds=3)

    assert (found.outcome == "reached").mean() > 0.9
