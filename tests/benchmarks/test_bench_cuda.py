"""How fast the smoothing is on a GPU; needs one. Run with

    tox run -e bench -- tests/benchmarks/test_bench_cuda.py

Every benchmark notes its rates under `extra_info`; pytest-benchmark writes them out with `--benchmark-json`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from defenses.virolbi import Smoothed, project, smooth
from defenses.virolbi.backends import cuda_driver

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(not cuda_driver.available(), reason="needs NVRTC, from a PyTorch built for CUDA"),
]


def noisy_blocks(count: int, channels: int, size: int) -> torch.Tensor:
    """[B,C,H,W] on the GPU: flat squares under noise."""
    generator = torch.Generator("cuda").manual_seed(0)
    blocks = torch.rand((count, channels, 4, 4), generator=generator, device="cuda")
    blocks = blocks.repeat_interleave(size // 4, 2).repeat_interleave(size // 4, 3)
    return 0.8 * blocks + 0.2 * torch.rand(blocks.shape, generator=generator, device="cuda")


def measure(benchmark: Any, work: Callable[[], Smoothed[torch.Tensor]]) -> Smoothed[torch.Tensor]:
    """Time `work` to the end of what it started on the GPU, and note images and image-iterations per second."""

    def to_the_end() -> Smoothed[torch.Tensor]:
        found = work()
        torch.cuda.synchronize()
        return found

    found = benchmark.pedantic(to_the_end, rounds=3, warmup_rounds=1)
    benchmark.extra_info["device"] = torch.cuda.get_device_name()
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.min
        benchmark.extra_info["images per second"] = len(found.images) / seconds
        benchmark.extra_info["image-iterations per second"] = int(found.iterations.sum()) / seconds
    return found


def test_iterations_of_cifar_shape(benchmark):
    """The least that is asked for is 100 million image-iterations a second (on a large GPU)."""
    images = noisy_blocks(8 if benchmark.disabled else 20_000, 3, 32)
    iterations = 3 if benchmark.disabled else 3000

    found = measure(benchmark, lambda: smooth(images, iterations=iterations))

    assert (found.iterations == iterations).all()
    if not benchmark.disabled and torch.cuda.get_device_capability() >= (9, 0):
        assert benchmark.extra_info["image-iterations per second"] >= 100e6


def test_cifar_images_to_level_06(benchmark, cifar_images):
    images = cifar_images(100 if benchmark.disabled else 50_000).cuda()

    found = measure(benchmark, lambda: smooth(images))

    assert (found.outcome == "reached").mean() > 0.9
    assert torch.equal(found.iterations[:20].cpu(), smooth(images[:20].cpu()).iterations)


@pytest.mark.parametrize(
    ("count", "channels", "size", "level"), [(1, 1, 84, 0.6), (256, 1, 84, 0.6), (256, 3, 224, 0.3), (32, 3, 512, 0.3)]
)
def test_large_images_to_a_level(benchmark, count, channels, size, level):
    images = noisy_blocks(1 if benchmark.disabled else count, channels, size)

    found = measure(benchmark, lambda: smooth(images, level=level, max_iterations=10 if benchmark.disabled else 50_000))

    assert len(found.images) == len(images)


@pytest.mark.parametrize(("count", "size"), [(50_000, 32), (256, 224), (32, 512)])
def test_projections(benchmark, count, size):
    images = noisy_blocks(2 if benchmark.disabled else count, 3, size)
    generator = torch.Generator("cuda").manual_seed(0)
    cuts = [
        torch.rand((len(images), *shape), generator=generator, device="cuda") < 0.6
        for shape in ((size, size - 1), (size - 1, size))
    ]

    def to_the_end() -> torch.Tensor:
        projected = project(images, *cuts)
        torch.cuda.synchronize()
        return projected

    projected = benchmark.pedantic(to_the_end, rounds=3, warmup_rounds=1)

    assert torch.equal(projected[0].cpu(), project(images[0].cpu(), *(cut[0].cpu() for cut in cuts)))
