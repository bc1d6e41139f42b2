"""The gradient of the smoothing: the frozen map's, whichever backend computes it."""

from __future__ import annotations

import pytest
import torch
from support.smoothing_samples import BACKENDS, pictures, random_images

from defenses.virolbi import component_means, smooth, smooth_bpda

SCHEMES = ("paper", "fast")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradient_is_the_finite_difference_of_the_frozen_map(backend, scheme, channels):
    images = pictures(2, channels, 6, 7).requires_grad_()
    weights = random_images(2, channels, 6, 7, seed=9)
    options = {"level": 0.4, "scheme": scheme, "backend": backend}

    (smooth_bpda(images, **options) * weights).sum().backward()

    labels = smooth(images, **options).labels
    for place in [(0, 0, 0, 0), (0, channels - 1, 3, 1), (1, 0, 5, 6)]:
        bump = torch.zeros(images.shape, dtype=torch.float64)
        bump[place] = 1e-3
        up, down = (frozen(images.detach().double() + sign * bump, labels) for sign in (1, -1))
        difference = float(((up - down) * weights).sum()) / 2e-3
        assert float(images.grad[place]) == pytest.approx(difference, abs=1e-6)


def frozen(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean of every component, one at a time."""
    result = torch.empty_like(images)
    for image, parts, out in zip(images, labels, result, strict=True):
        for part in parts.unique():
            out[:, parts == part] = image[:, parts == part].mean(1, keepdim=True)
    return result


@pytest.mark.parametrize("backend", BACKENDS)
def test_component_means_are_their_own_adjoint(backend):
    values, others = (random_images(2, 3, 6, 6, seed=seed, dtype=torch.float64) for seed in (0, 1))
    labels = smooth(values, level=0.4).labels

    means, other_means = (component_means(images, labels, backend=backend) for images in (values, others))

    assert float((means * others).sum()) == pytest.approx(float((values * other_means).sum()))
    torch.testing.assert_close(means, frozen(values, labels), atol=1e-12, rtol=0)


def test_the_gradient_has_the_type_of_the_images():
    images = pictures(1, 3, 6, 6).half().requires_grad_()

    smooth_bpda(images, level=0.4).float().sum().backward()

    assert images.grad.dtype == torch.float16
