"""The method: against its formulas written with matrices, against SciPy, and case by case on paper."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from support.rounding import Truth, assert_within_rounding, drift
from support.smoothing_samples import BACKENDS, SHAPES, difference_matrix, pictures, random_images

from defenses.virolbi import hessian_norm, path, smooth
from defenses.virolbi.method.reference import Edges, adjoint, difference, shrink
from defenses.virolbi.method.settings import SCHEMES, required_edges
from defenses.virolbi.smoothing import DEFAULT_LEVEL, MAX_ITERATIONS

# The operators


@pytest.mark.parametrize("shape", SHAPES)
def test_the_adjoint_of_the_difference_is_its_adjoint(shape):
    u = random_images(2, *shape, dtype=torch.float64)
    p = Edges(*(random_images(*part.shape, seed=1, dtype=torch.float64) for part in difference(u)))

    forward = sum(float((d * q).sum()) for d, q in zip(difference(u), p, strict=True))

    assert forward == pytest.approx(float((u * adjoint(p)).sum()), abs=1e-12)


def test_the_difference_of_a_hand_worked_square():
    u = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]])

    d = difference(u)

    assert d.horizontal.tolist() == [[[[1.0], [4.0]]]]
    assert d.vertical.tolist() == [[[[3.0, 6.0]]]]
    assert adjoint(d).tolist() == [[[[-4.0, -5.0], [-1.0, 10.0]]]]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (4, 1), (2, 2), (3, 5), (6, 4)])
@pytest.mark.parametrize("nu", [0.25, 1.0, 16.0])
def test_the_hessian_norm_is_the_largest_eigenvalue_of_the_hessian(height, width, nu):
    D = difference_matrix(height, width)
    hessian = np.block([[np.eye(D.shape[1]) + nu * D.T @ D, -nu * D.T], [-nu * D, nu * np.eye(len(D))]])

    if height * width > 1:
        assert hessian_norm(height, width, nu) == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-12)
    else:
        assert hessian_norm(height, width, nu) == pytest.approx(max(1.0, nu))


def test_the_step_of_a_cifar_image_is_the_published_one():
    assert hessian_norm(32, 32) == pytest.approx(9.8795, abs=5e-5)
    assert 1 / (5 * hessian_norm(32, 32)) == pytest.approx(0.020244, abs=5e-7)


def test_shrinking_takes_one_off_the_norm_of_a_colour_edge():
    z = torch.tensor([3.0, 4.0, 12.0]).view(1, 3, 1, 1) / 6.5  # norm 2

    torch.testing.assert_close(shrink(z, 5.0), 5 * z / 2)
    assert (shrink(z / 2.0001, 5.0) == 0).all()


def test_shrinking_one_channel_is_soft_thresholding():
    z = torch.tensor([-2.5, -1.0, 0.3, 1.25]).view(1, 1, 1, 4)

    assert shrink(z, 2.0).flatten().tolist() == [-3.0, 0.0, 0.0, 0.5]


# The path


def path_by_matrices(x: np.ndarray, *, level: float, nu: float, kappa: float, step: float) -> tuple[int, np.ndarray]:
    """Eqs. 5, 8 and 6 as the paper writes them, for one image [C,H,W]: D as a matrix, the pseudo-inverse and all."""
    channels, height, width = x.shape
    D, X = difference_matrix(height, width), x.reshape(channels, -1).T
    u, z = np.zeros_like(X), np.zeros((len(D), channels))
    gamma = np.zeros_like(z)
    k = 0
    while (gamma != 0).any(1).mean() < level:
        descent_u, descent_gamma = (u - X) + nu * D.T @ (D @ u - gamma), -nu * (D @ u - gamma)
        u, z = u - kappa * step * descent_u, z - step * descent_gamma
        norm = np.linalg.norm(z, axis=1, keepdims=True)
        gamma = kappa * (1 - 1 / np.maximum(norm, 1)) * z
        k += 1
    joined = D[(gamma == 0).all(1)]
    smoothed = u - np.linalg.pinv(joined) @ (joined @ u)
    return k, smoothed.T.reshape(x.shape)


@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize(("level", "nu"), [(0.3, 1.0), (0.6, 1.0), (0.6, 8.0)])
def test_the_reference_follows_the_paper_written_with_matrices(shape, level, nu):
    x = pictures(1, *shape)[0].double()
    step = 1 / (5 * hessian_norm(*shape[1:], nu))
    iterations, expected = path_by_matrices(x.numpy(), level=level, nu=nu, kappa=5.0, step=step)

    smoothed = smooth(x, level=level, nu=nu, backend="reference")

    assert int(smoothed.iterations) == iterations
    np.testing.assert_allclose(smoothed.images, expected.clip(0, 1), atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "options", [{}, {"level": 0.3, "nu": 8.0}, {"level": 0.9, "kappa": 3.0, "max_iterations": 2000}, {"iterations": 57}]
)
def test_kernels_and_reference_are_float64s_path_within_rounding(shape, options):
    images = pictures(3, *shape)
    level = None if "iterations" in options else options.get("level", DEFAULT_LEVEL)

    results = [smooth(images, backend=backend, **options) for backend in BACKENDS]

    truth = Truth(images, **{name: options[name] for name in ("nu", "kappa") if name in options}).walk(*results)
    for each in results:
        assert_within_rounding(each, truth, level=level, max_iterations=options.get("max_iterations", MAX_ITERATIONS))


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_pixels_enter_when_the_geometric_series_says(backend):
    jump, nu, kappa = 0.75, 1.0, 5.0
    step = 1 / (kappa * hessian_norm(1, 2, nu))
    ratio, limit = 1 - kappa * step * (1 + 2 * nu), jump / (1 + 2 * nu)

    def z(k: int) -> float:  # after k steps of a jump tending to limit
        return step * nu * limit * (k - (1 - ratio**k) / (1 - ratio))

    smoothed = smooth(torch.tensor([[[0.125, 0.125 + jump]]]), level=1.0, backend=backend)

    k = int(smoothed.iterations)
    assert z(k - 1) <= 1 + drift(k)
    assert z(k) > 1 - drift(k)
    assert drift(k) < (z(k) - z(k - 1)) / 2  # rounding leaves no more than one iteration open
    assert smoothed.labels.tolist() == [[0, 1]]
    total = (2 * 0.125 + jump) * (1 - (1 - kappa * step) ** k)
    assert float(smoothed.images.double().sum()) == pytest.approx(total, abs=2 * drift(k))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_two_flat_regions_become_two_components(backend, channels):
    image = torch.full((channels, 4, 6), 0.25)
    image[:, :, 2:] = 0.75

    smoothed = smooth(image, level=4 / 38, backend=backend)

    assert smoothed.labels.tolist() == [[0, 0, 1, 1, 1, 1]] * 4
    assert str(smoothed.outcome) == "reached"
    assert float(smoothed.level) == 4 / 38
    for region in (smoothed.images[:, :, :2], smoothed.images[:, :, 2:]):
        assert region.unique().numel() == 1
    assert 0.2 < smoothed.images.min() < smoothed.images.max() < 0.8


@pytest.mark.parametrize("backend", BACKENDS)
def test_level_0_is_the_black_image_the_path_starts_from(backend):
    smoothed = smooth(pictures(2, 3, 6, 6), level=0, backend=backend)

    assert not smoothed.images.any()
    assert not smoothed.iterations.any()
    assert not smoothed.labels.any()
    assert not smoothed.level.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_level_1_separates_every_pixel_and_comes_close_to_the_image(backend):
    images = torch.arange(36.0).view(1, 1, 6, 6)[:, :, :, torch.tensor([0, 2, 4, 1, 3, 5])] / 35

    smoothed = smooth(images, level=1, backend=backend)

    assert smoothed.outcome.tolist() == ["reached"]
    assert smoothed.labels.flatten().tolist() == list(range(36))
    assert (smoothed.images - images).abs().max() < 0.05


def test_more_iterations_come_arbitrarily_close_to_the_image():
    image = pictures(1, 3, 6, 6)

    errors = [float((smooth(image, iterations=k).images - image).abs().max()) for k in (100, 1000, 20_000)]

    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("nu", [1.0, 4.0])
def test_the_outcome_is_the_first_iteration_at_the_level(nu, scheme, backend):
    image, options = pictures(1, 3, 12, 12), {"nu": nu, "scheme": scheme, "backend": backend}
    smoothed = smooth(image, level=0.4, **options)
    count = int(smoothed.iterations)

    before, there = path(image, iterations=[count - 1, count], **options)

    assert float(before.level) < 0.4 <= float(there.level)
    assert torch.equal(there.images, smoothed.images)
    assert torch.equal(there.labels, smoothed.labels)


def test_smoothing_keeps_the_mean_the_iteration_has_reached():
    image = pictures(1, 3, 8, 8).double()
    step = 1 / (5 * hessian_norm(8, 8))

    smoothed = smooth(image, iterations=40, backend="reference")

    shrunk = image.mean((2, 3)) * (1 - (1 - 5 * step) ** 40)
    torch.testing.assert_close(smoothed.images.mean((2, 3)), shrunk, atol=1e-12, rtol=0)


def test_the_channels_share_their_edges():
    image = torch.full((3, 6, 6), 0.5)
    image[0, :, 3:] = 0.9  # a step in red alone
    smoothed = smooth(image, level=6 / 60)

    assert smoothed.labels.max() == 1
    for channel in smoothed.images:
        assert channel[:, :3].unique().numel() == channel[:, 3:].unique().numel() == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_level_of_a_path_is_what_smooth_gives_there(backend):
    images = pictures(3, 3, 8, 8)
    images[1, :, :, :5] = 0.5  # can reach the lower levels only
    levels = [0.0, 0.3, 0.3, 0.6, 0.9]

    for level, stage in zip(levels, path(images, levels=levels, backend=backend), strict=True):
        alone = smooth(images, level=level, backend=backend)
        assert stage.outcome.tolist() == alone.outcome.tolist()
        for part in ("images", "level", "iterations", "labels"):
            assert torch.equal(getattr(stage, part), getattr(alone, part)), (level, part)


# Outcomes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_level_out_of_reach_gives_the_image_at_once(backend, channels):
    images = torch.cat([pictures(1, channels, 8, 8), torch.full((1, channels, 8, 8), 0.5), pictures(1, channels, 8, 8)])
    images[2, :, :, 3:] = 0.25

    smoothed = smooth(images, level=0.6, backend=backend)

    assert smoothed.outcome.tolist() == ["reached", "unreachable", "unreachable"]
    assert torch.equal(smoothed.images[1:], images[1:])
    assert smoothed.iterations.tolist()[1:] == [0, 0]
    assert smoothed.level[1] == 0
    assert smoothed.level[2] == (7 * 3 + 8 * 3) / 112  # down three columns, and across to each of the next
    assert smoothed.labels[1].max() == 0
    assert smoothed.labels[2].max() == 24


def test_an_edge_between_equal_pixels_may_be_in_for_a_while_but_does_not_count_as_reached():
    row = torch.tensor([[[0, 0, 0, 0.5, 0.5, 1, 1, 1]]], dtype=torch.float64)

    on_the_way = [
        float(stage.level) * 7 for stage in path(row, iterations=range(1, 3000, 10), nu=16.0, backend="reference")
    ]

    assert round(max(on_the_way)) == 3  # edges, of which two join unequal pixels
    assert str(smooth(row, level=3 / 7, nu=16.0, backend="reference").outcome) == "unreachable"


@pytest.mark.parametrize("backend", BACKENDS)
def test_giving_up_says_so_and_returns_the_path_so_far(backend):
    images = pictures(2, 3, 8, 8)

    smoothed = smooth(images, level=0.9, max_iterations=20, backend=backend)

    assert smoothed.outcome.tolist() == ["max_iterations"] * 2
    assert smoothed.iterations.tolist() == [20, 20]
    assert torch.equal(smoothed.images, smooth(images, iterations=20, backend=backend).images)


def test_a_difference_too_small_for_float32_ends_at_the_cap():
    image = torch.tensor([[[0.5, 0.5000001, 1.0]]])

    smoothed = smooth(image, level=1.0, max_iterations=5000)

    assert str(smoothed.outcome) == "max_iterations"


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_image_of_one_pixel_is_its_own_smoothed_image(backend):
    image = torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1)

    smoothed = smooth(image, backend=backend)

    assert torch.equal(smoothed.images, image)
    assert str(smoothed.outcome) == "reached"
    assert float(smoothed.level) == 1.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_batch_is_no_mistake(backend):
    smoothed = smooth(torch.zeros(0, 3, 4, 5), backend=backend)

    assert smoothed.images.shape == (0, 3, 4, 5)
    assert smoothed.labels.shape == (0, 4, 5)
    assert len(smoothed.outcome) == len(smoothed.level) == 0


@pytest.mark.parametrize(
    ("level", "edges", "expected"), [(0.6, 1984, 1191), (0.5, 4, 2), (0.6000000000000001, 10, 6), (0, 7, 0), (1, 7, 7)]
)
def test_a_level_asks_for_the_least_support_that_has_its_share(level, edges, expected):
    assert required_edges(level, edges) == expected


# One image's result is its own


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_mates_do_not_matter(backend):
    images = pictures(5, 3, 8, 8)
    order = torch.tensor([3, 0, 4])

    together, some = smooth(images, backend=backend), smooth(images[order], backend=backend)

    assert torch.equal(together.images[order], some.images)
    assert torch.equal(together.iterations[order], some.iterations)
    assert torch.equal(together.labels[order], some.labels)


def test_the_number_of_threads_does_not_matter():
    images, threads = pictures(5, 3, 8, 8), torch.get_num_threads()
    try:
        results = []
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(smooth(images))
    finally:
        torch.set_num_threads(threads)

    assert torch.equal(results[0].images, results[1].images)
    assert torch.equal(results[0].labels, results[1].labels)


def test_several_python_threads_may_smooth_at_once():
    batches = [pictures(2, 3, 8, 8, seed=seed) for seed in range(6)]

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(smooth, batches))

    for batch, result in zip(batches, results, strict=True):
        assert torch.equal(result.images, smooth(batch).images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_stays_within_rounding_of_float64():
    images = pictures(4, 3, 16, 16)

    there = smooth(images.cuda())

    assert there.images.is_cuda
    here = there._replace(**{name: getattr(there, name).cpu() for name in ("images", "level", "iterations", "labels")})
    assert_within_rounding(here, Truth(images).walk(here), level=DEFAULT_LEVEL)
