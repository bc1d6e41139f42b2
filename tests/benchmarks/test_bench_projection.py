"""How fast the projection is, in every iteration of a path and alone, beside other ways to compute it. Run with

    tox run -e bench -- tests/benchmarks/test_bench_projection.py

`python -m harness bench projection` measures the same more thoroughly and writes it down.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
from support.rounding import drift

from defenses.virolbi import project, smooth
from defenses.virolbi.bench import projected_path
from defenses.virolbi.bench.baselines import by_csgraph, by_label
from defenses.virolbi.bench.images import gray_picture
from defenses.virolbi.bench.timing import spread
from defenses.virolbi.method.settings import hessian_norm, make_settings

EVERY = "15,000 iterations, 84×84×1, a projection in each"
ONE = "one projection, 84×84×1"
ITERATIONS = 15_000


def image_of(size: int) -> torch.Tensor:
    return torch.from_numpy(gray_picture(None, size)[0])


def settings_of(image: torch.Tensor):
    return make_settings(*image.shape[-2:], kappa=5.0, nu=1.0, step=None)


@functools.cache
def iterates(size: int, iterations: int, count: int) -> list[projected_path.PathPoint]:
    """Iterates spread over the path, since the cost depends on the support."""
    image = image_of(size)
    return list(projected_path.walk(image, settings_of(image), spread(iterations, count)))


def by_method(at: projected_path.PathPoint, method: str) -> np.ndarray:
    if method in ("csgraph", "label"):
        rival = by_csgraph if method == "csgraph" else by_label
        return rival(at.u.numpy(), at.cut_h.numpy(), at.cut_v.numpy())
    return project(at.u, at.cut_h, at.cut_v, method=method).numpy()


def test_a_path_with_projections_by_us(benchmark, note, monkeypatch):
    size, iterations = (6, 40) if benchmark.disabled else (84, ITERATIONS)
    if benchmark.disabled:  # compiling it would take longer than all the rest
        monkeypatch.setattr(projected_path, "_project_along", projected_path._project_along.py_func)
    image = image_of(size)
    projected_path.project_along(image, settings_of(image), 1)
    note(EVERY, "ours", iterations)

    found, _ = benchmark(projected_path.project_along, image, settings_of(image), iterations)

    assert torch.equal(found.clamp(0, 1), smooth(image, iterations=iterations).images)


def test_a_path_with_projections_by_simple(benchmark, note, simple):
    size, iterations = (6, 40) if benchmark.disabled else (84, ITERATIONS)
    image = image_of(size)
    x = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    numbers = (np.float32(5), np.float32(1), np.float32(1 / (5 * hessian_norm(size, size))))
    note(EVERY, "simple", iterations)

    with np.errstate(divide="ignore"):
        found, _ = benchmark.pedantic(simple.follow, args=(x, *numbers, iterations, True), rounds=2)

    if benchmark.disabled:
        expected = smooth(image.double(), iterations=iterations, backend="reference").images
        np.testing.assert_allclose(found[..., 0].clip(0, 1), expected[0], atol=drift(iterations))
    else:  # both follow one path, but for the last bits; late on it an edge may differ for a moment
        ours = smooth(image, iterations=iterations).images.numpy()
        np.testing.assert_allclose(found[..., 0].clip(0, 1), ours[0], atol=1e-3)


@pytest.mark.parametrize(
    ("method", "count"), [("csgraph", 500), ("label", 500), ("lsqr", 25), ("graph", 500)], ids=lambda value: str(value)
)
def test_projections_spread_over_a_path(benchmark, note, method, count):
    """The gradient step, a hundredth of the time, is not counted against them."""
    size, iterations, count = (6, 400, 4) if benchmark.disabled else (84, ITERATIONS, count)
    path = iterates(size, iterations, count)
    note(EVERY, "ours, anew each time" if method == "graph" else method, count)

    found = benchmark.pedantic(
        lambda: [by_method(at, method) for at in path], rounds=1 if benchmark.disabled else 3, warmup_rounds=1
    )

    for at, projection in itertools.islice(zip(path, found, strict=True), 4):
        np.testing.assert_allclose(projection, project(at.u, at.cut_h, at.cut_v).numpy(), atol=1e-6)


def test_the_gradient_step_alone(benchmark, note):
    size, iterations = (6, 40) if benchmark.disabled else (84, ITERATIONS)
    image = image_of(size)
    note(EVERY, "no projection", iterations)

    found = benchmark(smooth, image, iterations=iterations)

    assert int(found.iterations) == iterations


@pytest.mark.parametrize("whose", ["ours", "csgraph", "label", "simple"])
def test_one_projection_in_the_middle_of_a_path(benchmark, note, simple, whose):
    (at,) = iterates(*((6, 400) if benchmark.disabled else (84, ITERATIONS)), 1)
    note(ONE, whose, 1)
    if whose == "simple":
        x, out = np.ascontiguousarray(at.u.permute(1, 2, 0).numpy()), np.zeros((*at.u.shape[1:], 1), np.float32)
        gamma = np.zeros((2, *x.shape), np.float32)
        gamma[0, :, :-1, 0], gamma[1, :-1, :, 0] = at.cut_h, at.cut_v
        benchmark(simple.project, x, gamma, out)
        found = out.transpose(2, 0, 1)
    else:
        found = benchmark(by_method, at, "graph" if whose == "ours" else whose)

    np.testing.assert_allclose(found, project(at.u, at.cut_h, at.cut_v).numpy(), atol=1e-6)
