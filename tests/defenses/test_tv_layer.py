"""The TV layer: its prox against independent solvers, its derivative against finite differences, the defense."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from torch import nn

from defenses.tv_layer import TVLayer2d, TVLayerDefense, tv_prox, tv_prox_rows
from harness.errors import UserError
from harness.types import Batch, TrainingState


def random_images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def prox_row(x: list[float] | np.ndarray, strength: float) -> np.ndarray:
    row = torch.as_tensor(np.asarray(x, float))[None, None]
    return tv_prox_rows(row, torch.tensor([strength], dtype=row.dtype))[0, 0].numpy()


def solve_dual(differences: np.ndarray, x: np.ndarray, strength: float) -> np.ndarray:
    """argmin ½‖y−x‖² + λ‖Dy‖₁ as y = x − Dᵀz with z the bounded least-squares solution."""
    if strength == 0 or len(differences) == 0:
        return x
    dual = lsq_linear(differences.T, x, bounds=(-strength, strength), method="bvls", tol=1e-14)
    return x - differences.T @ dual.x


def grid_differences(height: int, width: int) -> np.ndarray:
    across, down = np.diff(np.eye(width), axis=0), np.diff(np.eye(height), axis=0)
    return np.concatenate([np.kron(np.eye(height), across), np.kron(down, np.eye(width))])


def total_variation(images: torch.Tensor) -> float:
    return float(images.diff(dim=-1).abs().sum() + images.diff(dim=-2).abs().sum())


@pytest.mark.parametrize("length", [1, 2, 3, 17, 32])
@pytest.mark.parametrize("strength", [0.0, 0.01, 0.1, 1.0])
def test_rows_equal_an_independent_solver(length, strength):
    x = np.random.default_rng(length).random(length)

    expected = solve_dual(np.diff(np.eye(length), axis=0), x, strength)

    np.testing.assert_allclose(prox_row(x, strength), expected, atol=1e-9)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-8, 8), min_size=1, max_size=40), st.integers(0, 40))
def test_rows_meet_the_optimality_conditions_even_with_ties(eighths, strength):
    x, bound = np.array(eighths) / 8, strength / 16
    y = prox_row(x, bound)
    tension, jumps = np.cumsum(x - y), np.diff(y)

    assert abs(tension[-1]) < 1e-9  # the mean is kept
    assert np.all(np.abs(tension[:-1]) <= bound + 1e-9)
    apart = np.abs(jumps) > 1e-9
    np.testing.assert_allclose(tension[:-1][apart], -bound * np.sign(jumps[apart]), atol=1e-9)


@pytest.mark.parametrize("mode", ["smooth", "sharp"])
def test_a_constant_image_is_kept(mode):
    images = torch.full((2, 3, 6, 5), 0.3)

    torch.testing.assert_close(TVLayer2d(mode=mode, initial_lambda=0.4)(images), images)


def test_the_mean_of_each_channel_is_kept():
    images = random_images(2, 3, 9, 7)

    smooth = tv_prox(images, torch.tensor(0.2))

    torch.testing.assert_close(smooth.mean((2, 3)), images.mean((2, 3)))


def test_no_strength_is_the_identity():
    images = random_images(2, 3, 9, 7)

    torch.testing.assert_close(tv_prox(images, torch.tensor(0.0)), images, rtol=0, atol=1e-14)


def test_a_large_strength_leaves_the_mean():
    images = random_images(2, 3, 6, 5)

    expected = images.mean((2, 3), keepdim=True).expand_as(images)

    torch.testing.assert_close(tv_prox(images, torch.tensor(1e3)), expected)


def test_more_strength_leaves_less_variation():
    images = random_images(2, 3, 16, 16)

    left = [total_variation(tv_prox(images, torch.tensor(strength))) for strength in (0, 0.01, 0.05, 0.2, 0.5, 1)]

    assert all(a > b for a, b in itertools.pairwise(left))


@pytest.mark.parametrize("strength", [0.02, 0.1, 0.4])
def test_many_sweeps_reach_the_two_dimensional_minimiser(strength):
    images = random_images(1, 1, 5, 4)

    expected = solve_dual(grid_differences(5, 4), images.numpy().ravel(), strength).reshape(5, 4)

    smooth = tv_prox(images, torch.tensor(strength, dtype=torch.float64), sweeps=2000)
    np.testing.assert_allclose(smooth[0, 0].numpy(), expected, atol=1e-5)


def test_more_sweeps_come_nearer_to_the_minimiser():
    images, strength = random_images(1, 1, 6, 6), 0.15
    expected = solve_dual(grid_differences(6, 6), images.numpy().ravel(), strength)

    errors = [
        np.linalg.norm(tv_prox(images, torch.tensor(strength), sweeps=n).numpy().ravel() - expected)
        for n in (1, 4, 16, 64)
    ]

    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]


def test_the_derivative_of_a_row_by_hand():
    row = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]], dtype=torch.float64, requires_grad=True)
    strength = torch.tensor([0.25], dtype=torch.float64, requires_grad=True)

    out = tv_prox_rows(row, strength)
    out.backward(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]], dtype=torch.float64))

    assert out.tolist() == [[[0.125, 0.125, 0.875, 0.875]]]
    assert row.grad.tolist() == [[[1.5, 1.5, 3.5, 3.5]]]
    assert strength.grad.tolist() == [-2.0]


@pytest.mark.parametrize("strength", [0.02, 0.1, 0.3])
def test_the_derivative_of_rows_equals_finite_differences(strength):
    rows = random_images(2, 2, 9).requires_grad_()
    strengths = torch.tensor([strength, strength / 2], dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(tv_prox_rows, (rows, strengths))


@pytest.mark.parametrize("mode", ["smooth", "sharp"])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_derivative_of_the_layer_equals_finite_differences(mode, channels):
    layer = TVLayer2d(mode=mode, initial_lambda=0.1, channels=channels).double()
    images = random_images(2, 2, 5, 4).requires_grad_()

    assert torch.autograd.gradcheck(lambda x, _: layer(x), (images, layer.raw_lambda))


@pytest.mark.parametrize(("jump", "expected"), [(5e-6, [1.5, 1.5, 3.0]), (5e-5, [1.0, 2.0, 3.0])])
def test_a_jump_too_small_counts_as_none(jump, expected):
    row = torch.tensor([[[0.0, jump, 1.0]]], requires_grad=True)

    tv_prox_rows(row, torch.tensor([0.0])).backward(torch.tensor([[[1.0, 2.0, 3.0]]]))

    assert row.grad.tolist() == [[expected]]


def test_single_and_double_precision_agree():
    images = random_images(4, 3, 32, 32)

    single = tv_prox(images.float(), torch.tensor(0.05))

    torch.testing.assert_close(single.double(), tv_prox(images, torch.tensor(0.05)), rtol=0, atol=1e-6)


def test_the_result_has_the_type_of_the_images():
    images = random_images(1, 3, 8, 8, dtype=torch.float32)

    half = TVLayer2d()(images.half())

    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), TVLayer2d()(images), atol=2e-3, rtol=0)


def test_memory_layout_does_not_matter():
    images = random_images(3, 3, 8, 6)
    strength = torch.tensor([0.01, 0.1, 0.3])

    expected = tv_prox(images, strength)

    assert torch.equal(tv_prox(images.to(memory_format=torch.channels_last), strength), expected)
    assert torch.equal(tv_prox(images.mT.contiguous().mT, strength), expected)


def test_batch_mates_do_not_matter():
    images = random_images(5, 3, 8, 8)

    together = tv_prox(images, torch.tensor(0.1))

    assert torch.equal(together[2:3], tv_prox(images[2:3], torch.tensor(0.1)))


def test_threads_do_not_change_the_result():
    images = random_images(40, 1, 32, 32, dtype=torch.float32).requires_grad_()
    threads, results = torch.get_num_threads(), []

    for count in (1, 3):
        torch.set_num_threads(count)
        smooth = tv_prox(images, torch.tensor(0.1))
        results += [smooth, *torch.autograd.grad(smooth.square().sum(), images)]
    torch.set_num_threads(threads)

    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[3])


def test_each_channel_may_have_its_own_strength():
    images, strengths = random_images(2, 3, 8, 8), torch.tensor([0.01, 0.1, 0.3])

    together = tv_prox(images, strengths)

    for channel, strength in enumerate(strengths):
        alone = tv_prox(images[:, channel : channel + 1], strength)
        assert torch.equal(together[:, channel : channel + 1], alone)


@pytest.mark.parametrize("initial", [1e-4, 0.05, 3.0, 200.0])
def test_the_strength_starts_where_it_is_told(initial):
    assert TVLayer2d(initial_lambda=initial).strength.item() == pytest.approx(initial, rel=1e-3)


def test_sharpening_is_the_reverse_of_smoothing():
    images = random_images(1, 3, 8, 8)

    middle = (TVLayer2d(mode="sharp")(images) + TVLayer2d(mode="smooth")(images)) / 2

    torch.testing.assert_close(middle, images)


def test_the_learned_strength_gets_no_weight_decay():
    (parameter,) = TVLayer2d().parameters()

    assert parameter.no_weight_decay


def test_a_fixed_strength_is_saved_but_not_learned():
    layer = TVLayer2d(learned=False, initial_lambda=0.2)
    restored = TVLayer2d(learned=False)

    restored.load_state_dict(layer.state_dict())

    assert list(layer.parameters()) == []
    assert restored.strength.item() == pytest.approx(0.2)


@pytest.mark.parametrize(("per_channel", "count"), [(False, 1), (True, 3)])
def test_protect_puts_the_layer_in_front(per_channel, count):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 4))
    protected = TVLayerDefense(per_channel=per_channel, initial_lambda=0.1).protect(network)
    images = random_images(2, 3, 8, 8, dtype=torch.float32)

    expected = network(tv_prox(images, torch.tensor(0.1)))

    torch.testing.assert_close(protected(images), expected)
    torch.testing.assert_close(copy.deepcopy(protected)(images), expected)
    assert len(protected.tv.raw_lambda) == count


def test_training_moves_the_strength():
    protected = TVLayerDefense().protect(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    labels = torch.arange(16) % 2
    images = random_images(16, 1, 8, 8, dtype=torch.float32) * 0.5 + 0.5 * labels[:, None, None, None]
    optimizer = torch.optim.SGD(protected.parameters(), lr=0.5)
    before, losses = protected.tv.strength.item(), []

    for epoch in range(10):
        loss = TVLayerDefense().loss(
            protected, Batch(images, labels, labels), TrainingState(epoch, 10, torch.Generator())
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < losses[0]
    assert protected.tv.strength.item() != before


def test_a_strength_per_channel_needs_to_know_the_channels():
    with pytest.raises(UserError, match="needs a network with a convolution"):
        TVLayerDefense(per_channel=True).protect(nn.Flatten())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sweeps": 0}, "sweeps must be at least 1, got 0"),
        ({"initial_lambda": 0.0}, "initial_lambda must be a positive number"),
        ({"initial_lambda": float("nan")}, "initial_lambda must be a positive number"),
        ({"mode": "blurry"}, "mode must be one of smooth, sharp, got 'blurry'"),
    ],
)
def test_impossible_layers_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        TVLayerDefense(**options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_images_give_what_cpu_images_give():
    images, layer = random_images(2, 3, 8, 8, dtype=torch.float32), TVLayer2d()
    expected = layer(images)

    smooth = layer.cuda()(images.cuda().requires_grad_())
    smooth.sum().backward()

    torch.testing.assert_close(smooth.cpu(), expected)
    assert layer.raw_lambda.grad.is_cuda
