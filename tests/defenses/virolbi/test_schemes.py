"""The schemes: each against its formula in matrices, all on one path; and paths that are taken up again."""

from __future__ import annotations

import doctest
import itertools
import pickle
from threading import Timer

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from support.rounding import Truth, assert_states_within_rounding, assert_within_rounding
from support.smoothing_samples import BACKENDS, SHAPES, difference_matrix, pictures, random_images

from defenses.virolbi import InverseScaleSmoothing, Smoothed, path, smooth, smoothing
from defenses.virolbi.backends import cpu
from defenses.virolbi.method.reference import solve
from defenses.virolbi.method.settings import SCHEMES, make_settings
from harness.errors import UserError

OTHERS = ("exact", "fast")


def cut_edges(labels: torch.Tensor) -> torch.Tensor:
    """[B,E] bool: the pairs of neighbours in different components."""
    return torch.cat([labels.diff(dim=dim).flatten(1) != 0 for dim in (1, 2)], 1)


def path_by_matrices(x: np.ndarray, iterations: int, scheme: str, nu: float) -> np.ndarray:
    """u [C,H,W] after so many iterations on one image."""
    channels, height, width = x.shape
    settings = make_settings(height, width, kappa=5.0, nu=nu, step=None, scheme=scheme)
    alpha, beta = settings.step, settings.inertia
    D, X = difference_matrix(height, width), x.reshape(channels, -1).T
    inverse = np.linalg.inv(np.eye(len(X)) + nu * D.T @ D)
    u = inverse @ X if scheme == "exact" else np.zeros_like(X)
    z, velocity = np.zeros((len(D), channels)), np.zeros_like(X)
    gamma = np.zeros_like(z)
    for _ in range(iterations):
        velocity = beta * velocity - (1 - beta) * 5 * alpha * ((u - X) + nu * D.T @ (D @ u - gamma))
        z = z + alpha * nu * (D @ u - gamma)
        gamma = 5 * (1 - 1 / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1)) * z
        u = inverse @ (X + nu * D.T @ gamma) if scheme == "exact" else u + velocity
    return u.T.reshape(x.shape)


@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("nu", [0.25, 1.0, 16.0])
def test_a_scheme_is_its_formula(shape, scheme, nu):
    x = pictures(1, *shape)[0].double()
    taken = path(x, iterations=[0, 37], nu=nu, scheme=scheme, backend="reference").state

    expected = path_by_matrices(x.numpy(), 37, scheme, nu)

    np.testing.assert_allclose(taken.state.u[0], expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(2, 1, 1, 7), (2, 3, 6, 1), (2, 3, 9, 12), (1, 1, 1, 1)])
@pytest.mark.parametrize("nu", [0.25, 64.0])
def test_the_exact_step_solves_by_the_cosine_transform(shape, nu):
    b = random_images(*shape, dtype=torch.float64)
    down, across = (2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in shape[2:])

    spectrum = dctn(b.numpy(), axes=(2, 3), norm="ortho") / (1 + nu * (down[:, None] + across))

    np.testing.assert_allclose(solve(b, nu), idctn(spectrum, axes=(2, 3), norm="ortho"), atol=1e-12)


@pytest.mark.parametrize("shape", [*SHAPES, (3, 33, 40)])
@pytest.mark.parametrize("scheme", OTHERS)
@pytest.mark.parametrize(("level", "nu"), [(0.6, 0.25), (0.4, 16.0)])
def test_kernels_and_reference_stop_where_float64_does_within_rounding(shape, scheme, level, nu):
    images = pictures(3, *shape)
    options = {"nu": nu, "scheme": scheme}

    results = [smooth(images, level=level, max_iterations=3000, backend=backend, **options) for backend in BACKENDS]

    truth = Truth(images, **options).walk(*results)
    for each in results:
        assert_within_rounding(each, truth, level=level, max_iterations=3000)


@pytest.mark.parametrize("shape", [(1, 100, 131), (3, 83, 200), (3, 512, 512), (3, 1, 9000), (1, 9000, 1)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_large_images_are_followed_part_by_part_without_a_seam(shape, scheme):
    if scheme == "exact" and max(shape) > 1000:
        pytest.skip("the reference would need matrices of 9000 × 9000")
    image = pictures(1, *shape)

    stages = path(image, iterations=[7], scheme=scheme)

    truth = Truth(image, scheme=scheme).walk(stages[0])
    assert_states_within_rounding(stages.state.state, truth.at(7))
    assert_within_rounding(stages[0], truth, level=None)


@pytest.mark.parametrize("nu", [0.25, 1.0, 4.0, 16.0, 64.0])
def test_fast_follows_the_path_of_the_paper(nu):
    images = pictures(4, 3, 16, 16)
    paper = smooth(images, nu=nu)

    coarse, fine = (smooth(images, nu=nu, scheme="fast", step=0.199 / max(nu, 1) / finer) for finer in (1, 4))

    assert same_partition(coarse, paper) >= 0.98
    assert same_partition(fine, paper) >= 0.99
    assert mean_difference(fine, paper) < mean_difference(coarse, paper) / 2 < 0.2
    assert coarse.iterations.sum() < paper.iterations.sum() / 3


@pytest.mark.parametrize("nu", [0.25, 1.0, 16.0])
@pytest.mark.parametrize("level", [0.05, 0.1, 0.3])
def test_fast_neither_overshoots_nor_lags_on_the_first_iterations(nu, level, photographs):
    paper, fast = (smooth(photographs, nu=nu, level=level, scheme=scheme) for scheme in ("paper", "fast"))

    brightness = (fast.images.mean((1, 2, 3)) - paper.images.mean((1, 2, 3))).abs() * 255
    assert brightness.max() < 0.5
    assert (fast.images - paper.images).abs().flatten(1).mean(1).median() * 255 < 0.2


@pytest.mark.parametrize("nu", [0.25, 1.0, 4.0, 16.0, 64.0])
def test_fast_and_exact_take_the_same_way_but_for_the_beginning(nu):
    images = pictures(4, 3, 16, 16)

    exact, fast = (smooth(images, nu=nu, scheme=scheme) for scheme in OTHERS)

    assert same_partition(exact, fast) >= 0.98
    assert mean_difference(exact, fast) < 0.5
    assert (exact.iterations - fast.iterations / 2).abs().max() <= 0.02 * fast.iterations.max()


@pytest.mark.parametrize(("nu", "count"), [(1.0, 20), (16.0, 10)])
def test_fast_deviates_on_photographs_by_no_more_than_is_stated(nu, count, photographs):
    paper, fast = (smooth(photographs[:count], nu=nu, scheme=scheme) for scheme in ("paper", "fast"))

    assert same_partition(fast, paper) >= 0.99
    assert mean_difference(fast, paper) <= 0.2
    assert fast.iterations.sum() < paper.iterations.sum() / 4


@pytest.mark.parametrize(("nu", "stated"), [(1.0, 0.219), (16.0, 0.016)])
def test_fast_deviates_on_noisy_photographs_as_is_stated(nu, stated, photographs):
    """docs/smoothing.md: noise of deviation 0.1; these photographs are others, so that means are near and not equal."""
    noise = torch.randn(photographs[:20].shape, generator=torch.Generator().manual_seed(0))
    noisy = (photographs[:20] / 255 + 0.1 * noise).clamp(0, 1)

    paper, fast = (smooth(noisy, nu=nu, scheme=scheme) for scheme in ("paper", "fast"))

    assert stated / 3 < mean_difference(fast, paper) < stated * 2
    assert 0.99 < same_partition(fast, paper) < 1


def same_partition(a: Smoothed, b: Smoothed) -> float:
    """The share of the borders of components in either image that are in both."""
    first, second = cut_edges(a.labels), cut_edges(b.labels)
    return float((first & second).sum() / (first | second).sum())


def mean_difference(a: Smoothed, b: Smoothed) -> float:
    """In grey levels of 255."""
    return float((a.images - b.images).abs().mean()) * 255


@pytest.mark.parametrize("share", [0.5, 0.999])
@pytest.mark.parametrize("nu", [0.25, 1.0, 16.0, 64.0])
def test_the_inertia_keeps_every_linearisation_stable(nu, share):
    height, width = 4, 5
    settings = make_settings(height, width, kappa=5.0, nu=nu, step=share / (5 * nu), scheme="fast")
    rng = np.random.default_rng(0)
    entered = [np.zeros(31), np.ones(31), *(rng.random((20, 31)) * (rng.random((20, 1)) < 0.7) > 0.3)]

    radii = [spectral_radius(height, width, settings, slopes) for slopes in [*entered, *rng.random((20, 31))]]

    assert max(radii) <= 1 + 1e-9
    idle = settings._replace(inertia=0.0)
    assert spectral_radius(height, width, idle, np.ones(31)) > 1


def spectral_radius(height: int, width: int, settings, slopes: np.ndarray) -> float:
    """Of an iteration in (u, velocity, γ), linearised: shrink has the given slopes, 0 to 1, at the edges."""
    D = difference_matrix(height, width)
    edges, pixels = D.shape
    a, beta, nu = settings.u_step, settings.inertia, settings.nu
    pull = a * np.concatenate([np.eye(pixels) + nu * D.T @ D, np.zeros((pixels, pixels)), -nu * D.T], 1)
    velocity = np.concatenate([np.zeros((pixels, pixels)), beta * np.eye(pixels), np.zeros((pixels, edges))], 1) - pull
    u = np.concatenate([np.eye(pixels), np.zeros((pixels, pixels + edges))], 1) + velocity
    rise = settings.kappa * settings.z_step * slopes[:, None]
    gamma = np.concatenate([rise * D, np.zeros((edges, pixels)), np.eye(edges) - rise * np.eye(edges)], 1)
    return float(np.abs(np.linalg.eigvals(np.concatenate([u, velocity, gamma]))).max())


@pytest.mark.parametrize(("scheme", "formula", "bound"), [("exact", r"2/\(κν\)", 0.2), ("fast", r"1/\(κν\)", 0.1)])
def test_a_step_from_the_bound_on_is_refused_and_one_below_follows_the_path(scheme, formula, bound):
    images = pictures(4, 3, 16, 16)

    with pytest.raises(UserError, match=rf"step must be under {formula} = {bound:g} with scheme={scheme}"):
        smooth(images, nu=2.0, step=bound, scheme=scheme)
    smoothed = smooth(images, nu=2.0, step=0.999 * bound, scheme=scheme)
    assert mean_difference(smoothed, smooth(images, nu=2.0)) < 0.5


def test_an_unknown_scheme_is_refused_with_what_there_is():
    with pytest.raises(UserError, match=r"unknown scheme 'quick'.*exact, fast, paper"):
        smooth(pictures(1, 3, 4, 4), scheme="quick")


@pytest.mark.parametrize("scheme", OTHERS)
def test_neither_threads_nor_batch_mates_change_a_bit(scheme):
    images = pictures(19, 3, 9, 11)
    threads = torch.get_num_threads()
    try:
        by_threads = []
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            by_threads.append(smooth(images, scheme=scheme).images)
    finally:
        torch.set_num_threads(threads)

    assert all(torch.equal(by_threads[0], other) for other in by_threads[1:])
    assert torch.equal(by_threads[0][4:5], smooth(images[4:5], scheme=scheme).images)


def test_large_images_may_be_followed_piece_by_piece(monkeypatch):
    images, levels = pictures(3, 3, 12, 12), [0.1, 0.4, 0.8]
    images[1, :, :, :8] = 0.5  # cannot reach the last
    whole = path(images, levels=levels, max_iterations=900)

    monkeypatch.setattr(cpu, "_VALUES_BETWEEN_CHECKS", 17 * images[0].numel())

    pieces = path(images, levels=levels, max_iterations=900)
    for result, expected in zip(pieces, whole, strict=True):
        assert result.outcome.tolist() == expected.outcome.tolist()
        assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True) if isinstance(a, torch.Tensor))
    assert all(torch.equal(a, b) for a, b in zip(pieces.state.state, whole.state.state, strict=True))
    assert torch.equal(smooth(images, iterations=0).images, torch.zeros_like(images))


@pytest.mark.parametrize("threads", [1, 2])
def test_smoothing_ends_when_it_is_interrupted(threads, monkeypatch):
    monkeypatch.setattr(cpu, "_VALUES_BETWEEN_CHECKS", 3 * 40 * 40)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    smooth(pictures(1, 3, 40, 40), iterations=1)
    later = Timer(0.2, cpu.interrupt)
    later.start()

    with pytest.raises(KeyboardInterrupt):
        smooth(pictures(3, 3, 40, 40), iterations=10_000_000)

    later.join()
    assert int(smooth(pictures(1, 3, 40, 40), iterations=9).iterations) == 9


# Paths


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_path_taken_up_again_is_the_path_in_one_go(backend, scheme, channels):
    images = pictures(3, channels, 8, 8)
    images[1, :, :, :5] = 0.5  # can reach the lower levels only
    options = {"backend": backend, "scheme": scheme}
    at_once = path(images, levels=[0.2, 0.5, 0.9], **options)

    first = path(images, levels=[0.2], **options)
    rest = path(images, levels=[0.5, 0.9], state=pickle.loads(pickle.dumps(first.state)), **options)

    for result, expected in zip((*first, *rest), at_once, strict=True):
        assert result.outcome.tolist() == expected.outcome.tolist()
        assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True) if isinstance(a, torch.Tensor))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_path_may_stop_by_iterations(backend):
    images = pictures(2, 3, 8, 8)

    for stage, count in zip(path(images, iterations=[0, 30, 31], backend=backend), (0, 30, 31), strict=True):
        alone = smooth(images, iterations=count, backend=backend)
        assert torch.equal(stage.images, alone.images)
        assert stage.iterations.tolist() == [count] * 2
        assert stage.outcome.tolist() == ["reached"] * 2


def test_a_state_that_is_taken_up_stays_as_it_is():
    images = pictures(2, 3, 8, 8)
    first = path(images, levels=[0.3])
    before = [part.clone() for part in first.state.state]

    path(images, levels=[0.8], state=first.state)

    assert all(torch.equal(part, was) for part, was in zip(first.state.state, before, strict=True))


def test_an_image_beyond_a_level_is_given_as_it_stands():
    images = pictures(2, 3, 8, 8)
    far = path(images, levels=[0.7])

    stage = path(images, levels=[0.2], state=far.state)[0]

    assert torch.equal(stage.images, far[0].images)
    assert torch.equal(stage.level, far[0].level)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nu": 2.0}, r"the state belongs to a path with Settings\(kappa=5.0, nu=1.0"),
        ({"scheme": "fast"}, "the state belongs to a path with"),
        (
            {"images": pictures(3, 3, 8, 8)},
            r"the state belongs to images of shape \[2, 3, 8, 8\] and torch.float32, got",
        ),
        ({"images": pictures(2, 3, 8, 8).double(), "backend": "reference"}, r"got \[2, 3, 8, 8\] and torch.float64"),
        ({"images": pictures(2, 3, 8, 8).flip(0)}, "the state belongs to other images of the same shape"),
        ({"levels": 0.5}, r"levels must be several levels, such as \[0.5\], got 0.5"),
        ({"levels": None, "iterations": 900}, r"iterations must be several numbers, such as \[900\]"),
        ({"levels": None, "iterations": [3]}, r"the path stands at iteration \d+ already, got iterations=\[3\]"),
        ({"iterations": [3]}, "give either levels or iterations, got both"),
        ({"levels": None}, "give either levels or iterations, got neither"),
        ({"levels": None, "iterations": [5, 4]}, "iterations must ascend"),
        ({"levels": None, "iterations": []}, "at least one number"),
        ({"levels": None, "iterations": [1.5]}, "each of iterations must be a whole number"),
    ],
)
def test_bad_paths_are_refused(change, message):
    images = pictures(2, 3, 8, 8)
    options = {"images": images, "levels": [0.5], "state": path(images, levels=[0.3]).state, **change}

    with pytest.raises(UserError, match=message):
        path(options.pop("images"), **options)


@pytest.mark.parametrize("kind", [torch.Tensor, np.ndarray])
def test_large_batches_go_group_by_group(kind, monkeypatch):
    images = pictures(7, 3, 8, 8)
    images[3] = 0.5
    given = images if kind is torch.Tensor else images.numpy()
    whole = smooth(given)

    monkeypatch.setattr(smoothing, "GROUP_VALUES", 3 * images[0].numel())

    for smoothed, expected in zip(smooth(given), whole, strict=True):
        assert type(smoothed) is type(expected)
        assert smoothed.dtype == expected.dtype
        assert np.array_equal(smoothed, expected)


def test_results_are_shown_in_a_line():
    images = pictures(3, 3, 8, 8)
    images[1] = 0.5

    stages = path(images, levels=[0.5])

    assert repr(stages[0]) == "<Smoothed: [3, 3, 8, 8], 2 reached, 1 unreachable>"
    assert repr(smooth(images[0], level=0.5)) == "<Smoothed: [3, 8, 8], 1 reached>"
    assert len(repr(stages)) < 600


def test_level_and_iterations_together_are_refused():
    with pytest.raises(UserError, match=r"either level or iterations, got level=0.5 and iterations=3"):
        smooth(pictures(1, 3, 8, 8), level=0.5, iterations=3)
    with pytest.raises(UserError, match=r"either level or iterations, got level=0.5 and iterations=3"):
        InverseScaleSmoothing(level=0.5, iterations=3)


def test_a_path_is_a_sequence():
    stages = path(pictures(2, 3, 8, 8), levels=[0.2, 0.5, 0.7])

    assert len(stages) == 3
    assert [float(stage.level.min()) for stage in stages[1:]] == [
        float(stage.level.min()) for stage in stages.stages[1:]
    ]
    assert all(a.level.min() <= b.level.min() for a, b in itertools.pairwise(stages))


def test_the_examples_run():
    assert doctest.testmod(smoothing).failed == 0
