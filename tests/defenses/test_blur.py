"""Gaussian blur: its weights, its borders, and the defense around it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from defenses.blur import Blur, GaussianBlur
from harness.errors import UserError
from harness.registry import preprocessors
from harness.types import Batch, TrainingState

WEIGHTS = np.array([0.3192, 0.3617, 0.3192])  # kernel 3, σ 2, as published


def random_images(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def blurred_by_scipy(images: torch.Tensor, kernel: int, sigma: float) -> torch.Tensor:
    weights = np.exp(-0.5 * (np.arange(kernel) - kernel // 2) ** 2 / sigma**2)
    out = images.numpy()
    for axis in (-2, -1):
        out = ndimage.correlate1d(out, weights / weights.sum(), axis=axis, mode="mirror")
    return torch.from_numpy(out)


def test_an_impulse_shows_the_published_weights():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1

    spread = GaussianBlur()(image)[0, 0, 3:6, 3:6].numpy()

    np.testing.assert_allclose(spread, np.outer(WEIGHTS, WEIGHTS), atol=1e-4)


@pytest.mark.parametrize(("size", "kernel"), [(32, 3), (64, 3), (65, 7), (96, 7)])
def test_the_kernel_follows_the_size_of_the_image(size, kernel):
    images = random_images(1, 2, size, size)

    torch.testing.assert_close(GaussianBlur()(images), blurred_by_scipy(images, kernel, 2.0))


@pytest.mark.parametrize(("kernel", "sigma"), [(3, 2.0), (5, 0.7), (1, 2.0)])
def test_blur_equals_scipy_up_to_the_borders(kernel, sigma):
    images = random_images(2, 3, 12, 10)

    torch.testing.assert_close(
        GaussianBlur(sigma=sigma, kernel=kernel)(images), blurred_by_scipy(images, kernel, sigma)
    )


def test_blur_is_its_own_derivative_to_autograd():
    images = random_images(1, 1, 5, 4, dtype=torch.float64).requires_grad_()

    assert GaussianBlur().surrogates == ("exact",)
    assert torch.autograd.gradcheck(GaussianBlur(), images)


def test_autocast_does_not_coarsen_the_images():
    images = random_images(1, 3, 8, 8)

    with torch.autocast("cpu", torch.bfloat16):
        blurred = GaussianBlur()(images)

    assert torch.equal(blurred, GaussianBlur()(images))


@pytest.mark.parametrize("options", [{"sigma": 0.0}, {"sigma": float("nan")}, {"kernel": 4}, {"kernel": -1}])
def test_impossible_blurs_are_refused(options):
    with pytest.raises(UserError, match=r"blur: (sigma|kernel) must be"):
        Blur(**options)


def test_a_kernel_wider_than_the_image_reflects_is_refused():
    with pytest.raises(UserError, match="7 pixels is too wide for images of 8×3"):
        GaussianBlur(kernel=7)(torch.zeros(1, 1, 8, 3))


def test_training_sees_the_blurred_batch():
    images, labels = random_images(4, 1, 8, 8), torch.arange(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    state = TrainingState(0, 1, torch.Generator())

    loss = Blur(sigma=1.0, kernel=5).loss(model, Batch(images, labels, labels), state)

    torch.testing.assert_close(loss, functional.cross_entropy(model(blurred_by_scipy(images, 5, 1.0)), labels))


@pytest.mark.parametrize(
    ("options", "name"),
    [({}, "blur"), ({"sigma": 1.25}, "blur:sigma=1.25"), ({"sigma": 1.0, "kernel": 5}, "blur:sigma=1,kernel=5")],
)
def test_the_defense_is_preprocessed_by_its_own_blur(options, name):
    label = Blur(**options).preprocess("virolbi")
    images = random_images(1, 3, 16, 16)

    assert label == name
    assert torch.equal(preprocessors.create(label)(images), GaussianBlur(**options)(images))
