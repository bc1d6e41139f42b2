"""How fast the smoothing is, beside the loop anyone would write (simple.py) and `torch.compile`. Run with

tox run -e bench -- tests/benchmarks/test_bench_smoothing.py
"""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from support.rounding import Truth, drift

from defenses.virolbi import smooth
from defenses.virolbi.backends import cpu as cpu_backend
from defenses.virolbi.bench.images import generated, gray_picture
from defenses.virolbi.method import reference
from defenses.virolbi.method.settings import edge_count, hessian_norm, make_settings, required_edges
from defenses.virolbi.method.trace import SolverState

KAPPA = 5.0
ITERATION = "an iteration, 32×32×3, {} thread{}"
LONG = "15,000 iterations, 84×84×1"
CIFAR = "CIFAR images to level 0.6"
each_thread_count = pytest.mark.parametrize("threads", [1, 2])


def use_threads(threads: int) -> None:
    if threads > (os.cpu_count() or 1):
        pytest.skip(f"needs {threads} cores")
    torch.set_num_threads(threads)


def iteration_group(threads: int) -> str:
    return ITERATION.format(threads, "" if threads == 1 else "s")


def pixels_last(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def simple_arguments(image: np.ndarray, iterations: int, nu: float = 1.0) -> tuple:
    alpha = 1 / (KAPPA * hessian_norm(*image.shape[1:], nu))
    return pixels_last(image), np.float32(KAPPA), np.float32(nu), np.float32(alpha), iterations, False


def unprojected(images: np.ndarray, iterations: int) -> torch.Tensor:
    """u by the reference in float64."""
    return Truth(torch.from_numpy(images)).at(iterations).u


# One iteration, 32×32×3


def test_an_iteration_by_simple(benchmark, note, simple):
    image, iterations = (generated()(1, 6), 3) if benchmark.disabled else (generated()(1, 32), 500)
    note(iteration_group(1), "simple", iterations)

    with np.errstate(divide="ignore"):
        u, _ = benchmark(simple.follow, *simple_arguments(image[0], iterations))

    np.testing.assert_allclose(u, pixels_last(unprojected(image, iterations)[0].numpy()), atol=drift(iterations))


@each_thread_count
@pytest.mark.benchmark(max_time=3)
def test_an_iteration_by_us(benchmark, note, threads):
    use_threads(threads)
    count, iterations = (2, 3) if benchmark.disabled else (64, 500)
    images = torch.from_numpy(generated()(count, 32))
    note(iteration_group(threads), "ours", count * iterations)

    found = benchmark(smooth, images, iterations=iterations)

    assert (found.iterations == iterations).all()


@each_thread_count
@pytest.mark.parametrize("count", [1, 4, 16, 64, 256])
def test_an_iteration_by_torch_compile(benchmark, note, threads, count):
    """The same loop over batches, which the compiler fuses; the best batch counts."""
    use_threads(threads)
    count, iterations = (2, 3) if benchmark.disabled else (count, max(10, 2000 // count))
    images = generated()(count, 32)
    x = torch.from_numpy(images)
    note(iteration_group(threads), "torch.compile", count * iterations)
    numbers = (KAPPA, 1 / (KAPPA * hessian_norm(32, 32)))
    step = plain_step if benchmark.disabled else compiled_step(threads)

    def loop() -> torch.Tensor:
        u, right, down = torch.zeros_like(x), torch.zeros_like(x[..., 1:]), torch.zeros_like(x[..., 1:, :])
        for _ in range(iterations):
            u, right, down = step(x, u, right, down, *numbers)
        return u

    u = benchmark.pedantic(loop, rounds=1 if benchmark.disabled else 5, warmup_rounds=0 if benchmark.disabled else 1)

    torch.testing.assert_close(u.double(), unprojected(images, iterations), atol=drift(iterations), rtol=0)


def plain_step(x, u, z_right, z_down, kappa, alpha):
    """Eq. 5 with ν = 1 on a batch [B,3,H,W]: whole-array operations, γ not stored."""
    r_right = (u[..., 1:] - u[..., :-1]) - shrink(z_right, kappa)
    r_down = (u[..., 1:, :] - u[..., :-1, :]) - shrink(z_down, kappa)
    pad = torch.nn.functional.pad
    adjoint = pad(r_right, (1, 0)) - pad(r_right, (0, 1)) + pad(r_down, (0, 0, 1, 0)) - pad(r_down, (0, 0, 0, 1))
    return u - kappa * alpha * ((u - x) + adjoint), z_right + alpha * r_right, z_down + alpha * r_down


def shrink(z, kappa):
    norm = (z[:, :1] ** 2 + z[:, 1:2] ** 2 + z[:, 2:] ** 2).sqrt()
    return kappa * (1 - 1 / norm.clamp(min=1)) * z


def compiled_step(threads: int):
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        pytest.skip(f"torch.compile needs a C++ compiler, and there is no {compiler}")
    torch._dynamo.reset()  # after a few shapes it would give up
    return torch.compile(plain_step, dynamic=False, options={"cpp.threads": threads})


# 15,000 iterations, 84×84×1


def test_a_long_path_by_simple(benchmark, note, simple):
    size, iterations = (5, 3) if benchmark.disabled else (84, 15_000)
    image = gray_picture(None, size)[0]
    note(LONG, "simple", 1)

    with np.errstate(divide="ignore"):
        u, _ = benchmark.pedantic(simple.follow, args=simple_arguments(image, iterations), rounds=2)

    if benchmark.disabled:
        expected = pixels_last(unprojected(image[None], iterations)[0].numpy())
        np.testing.assert_allclose(u, expected, atol=drift(iterations))


@pytest.mark.parametrize(
    ("whose", "options"),
    [("ours", {}), ("ours, fast", {"scheme": "fast"}), ("ours, ν=16", {"nu": 16.0})],
    ids=["paper", "fast", "nu16"],
)
def test_a_long_path_by_us(benchmark, note, whose, options):
    size, iterations = (5, 3) if benchmark.disabled else (84, 15_000)
    image = gray_picture(None, size)[0]
    note(LONG, whose, 1)

    found = benchmark(smooth, image, iterations=iterations, **options)

    assert int(found.iterations) == iterations


# Several threads


@each_thread_count
@pytest.mark.benchmark(max_time=4)
def test_threads(benchmark, note, threads):
    """The same images for one thread and for two."""
    use_threads(threads)
    count, iterations = (2, 3) if benchmark.disabled else (256, 1000)
    images = generated()(count, 32)
    note("2 threads, 32×32×3", "ours" if threads == 2 else "1 thread", count)

    found = benchmark(smooth, images, iterations=iterations)

    assert (found.iterations == iterations).all()


# CIFAR


@pytest.mark.parametrize("scheme", ["paper", "fast"])
@each_thread_count
def test_cifar_images_to_level_06(benchmark, note, cifar_images, threads, scheme):
    use_threads(threads)
    images = cifar_images(4 if benchmark.disabled else 400)
    name = f"{CIFAR}, {threads} thread{'' if threads == 1 else 's'}{', fast' if scheme == 'fast' else ''}"
    note(name, "ours", len(images))

    found = benchmark.pedantic(smooth, args=(images,), kwargs={"scheme": scheme}, rounds=1 if benchmark.disabled else 4)

    assert (found.outcome == "reached").mean() > 0.9


@pytest.mark.parametrize("scheme", ["paper", "fast", "exact"])
def test_cifar_images_to_level_06_at_a_strong_coupling(benchmark, note, cifar_images, scheme):
    """At ν=16, and how far from the paper's step: in grey levels and as the overlap of the supports."""
    if not benchmark.disabled:
        use_threads(2)
    images = cifar_images(3 if benchmark.disabled else 500)
    note(f"{CIFAR}, ν=16, 2 threads", "ours" if scheme == "fast" else scheme, len(images))
    options = {"nu": 16.0, "scheme": scheme}

    found = benchmark.pedantic(smooth, args=(images,), kwargs=options, rounds=1 if scheme == "exact" else 2)

    if scheme != "paper":
        off = float((found.images - smooth(images, nu=16.0).images).abs().mean()) * 255
        overlap = support_overlap(images, 0.6, scheme)
        benchmark.extra_info.update(mean_difference_in_255ths=off, mean_jaccard=overlap)
        assert off <= 0.2
        assert overlap >= 0.99


def support_overlap(images: torch.Tensor, level: float, scheme: str) -> float:
    """The mean Jaccard index of the supports at ν=16 by a scheme and by the paper's, where images reach the level."""
    x = images.float() / 255
    needed = required_edges(level, edge_count(*x.shape[-2:]))
    reachable = reference.support_size(reference.support(reference.difference(x))) >= needed
    ours, papers = (support_at(x[reachable], needed, name) for name in (scheme, "paper"))
    return float(((ours & papers).sum(1) / (ours | papers).sum(1)).mean())


def support_at(x: torch.Tensor, edges: int, scheme: str) -> torch.Tensor:
    """[B,E] bool: the support where it first has so many edges."""
    settings = make_settings(*x.shape[-2:], kappa=KAPPA, nu=16.0, step=None, scheme=scheme)
    state = SolverState.start(x)
    cpu_backend.trace(x, torch.full((len(x), 1), edges), settings, 200_000, state)
    norms = [z.square().sum(1).flatten(1) for z in (state.z_horizontal, state.z_vertical)]
    return torch.cat(norms, 1) > 1
