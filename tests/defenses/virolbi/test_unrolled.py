"""The derivative of the iteration: that of finite differences as long as no edge opens or closes."""

from __future__ import annotations

import pytest
import torch
from support.smoothing_samples import pictures, random_images

from defenses.virolbi import ViRoLBI, component_means, path, smooth
from defenses.virolbi.gradient.unrolled import attach_unrolled, iteration_vjp
from harness.errors import UserError
from harness.registry import preprocessors


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("nu", [1.0, 8.0])
def test_all_steps_differentiated_are_the_gradient_of_the_iteration(channels, nu):
    images, of_u = pictures(2, channels, 6, 7).double(), random_images(2, channels, 6, 7, seed=3).double()
    ends = smooth(images, level=0.5, nu=nu, step=0.9 / (5 * nu), scheme="fast").iterations

    vjp = iteration_vjp(images, of_u, level=0.5, nu=nu, kappa=5.0, steps=100_000)

    for place in [(0, 0, 0, 0), (0, channels - 1, 3, 2), (1, 0, 5, 6)]:
        bump = torch.zeros_like(images)
        bump[place] = 1e-6
        up, down = (u_after(images + sign * bump, ends, nu) for sign in (1, -1))
        assert float(vjp[place]) == pytest.approx(float(((up - down) * of_u).sum()) / 2e-6, rel=2e-3, abs=2e-4)


def u_after(images: torch.Tensor, iterations: torch.Tensor, nu: float) -> torch.Tensor:
    options = {"nu": nu, "step": 0.9 / (5 * nu), "scheme": "fast", "backend": "reference"}
    return torch.cat(
        [path(images[i : i + 1], iterations=[int(k)], **options).state.state.u for i, k in enumerate(iterations)]
    )


def test_the_more_steps_the_nearer_to_all_of_them():
    images, of_u = pictures(3, 3, 8, 8), random_images(3, 3, 8, 8, seed=3)
    options = {"level": 0.6, "nu": 1.0, "kappa": 5.0}
    whole = iteration_vjp(images, of_u, steps=10_000, **options)

    misses = [float((iteration_vjp(images, of_u, steps=n, **options) - whole).norm()) for n in (1, 5, 25, 170)]

    assert misses == sorted(misses, reverse=True)
    assert misses[-1] < 0.05 * float(whole.norm())


def test_an_image_that_cannot_reach_the_level_passes_the_gradient_on():
    images = torch.full((2, 3, 6, 6), 0.5)
    images[0] = pictures(1, 3, 6, 6)[0]
    of_u = random_images(2, 3, 6, 6, seed=3)

    vjp = iteration_vjp(images, of_u, level=0.5, nu=1.0, kappa=5.0, steps=50)

    assert torch.equal(vjp[1], of_u[1])
    assert not torch.equal(vjp[0], of_u[0])


def test_batch_mates_do_not_matter():
    images, of_u = pictures(4, 3, 8, 8), random_images(4, 3, 8, 8, seed=3)
    options = {"level": 0.6, "nu": 1.0, "kappa": 5.0, "steps": 20}

    together = iteration_vjp(images, of_u, **options)

    for i in range(4):
        torch.testing.assert_close(iteration_vjp(images[i : i + 1], of_u[i : i + 1], **options), together[i : i + 1])


def test_the_projection_stands_before_the_iteration():
    images = pictures(2, 3, 8, 8).requires_grad_()
    weights, smoothed = random_images(2, 3, 8, 8, seed=3), smooth(images.detach())
    options = {"level": 0.6, "nu": 1.0, "kappa": 5.0, "steps": 30}

    attached = attach_unrolled(images, smoothed, **options)
    (attached * weights).sum().backward()

    assert torch.equal(attached, smoothed.images)
    expected = iteration_vjp(images.detach(), component_means(weights, smoothed.labels), **options)
    torch.testing.assert_close(images.grad, expected)


@pytest.mark.parametrize("surrogate", ViRoLBI.surrogates)
def test_every_surrogate_gives_the_same_image_and_its_own_gradient(surrogate):
    whole = preprocessors.create("virolbi:nu=4,level=0.5")
    images = pictures(2, 3, 8, 8).requires_grad_()
    weights = random_images(2, 3, 8, 8, seed=3)

    attached = whole.with_surrogate(surrogate)(images).images
    (attached * weights).sum().backward()

    assert torch.equal(attached, whole(images).images)
    if surrogate == "identity":
        assert torch.equal(images.grad, weights)
    else:
        assert not torch.equal(images.grad, weights)
    assert images.grad.isfinite().all()


def test_how_far_back_the_iteration_is_followed_may_be_chosen():
    images, weights = pictures(2, 3, 8, 8), random_images(2, 3, 8, 8, seed=3)
    gradients = {}
    for unroll in (1, 50, 100_000, 0):
        point = images.clone().requires_grad_()
        front = preprocessors.create(f"virolbi:nu=4,level=0.5,unroll={unroll}").with_surrogate("unrolled")
        (gradients[unroll],) = torch.autograd.grad(front(point).images, point, weights)

    assert torch.equal(gradients[0], gradients[100_000])
    misses = [float((gradients[unroll] - gradients[0]).norm()) for unroll in (1, 50)]
    assert misses[0] > misses[1] > 0
    assert preprocessors.canonical("virolbi:unroll=50") == "virolbi"
    with pytest.raises(UserError, match="unroll must be a whole number of at least 0, got -1"):
        preprocessors.create("virolbi:unroll=-1")


def test_an_unknown_surrogate_is_refused():
    with pytest.raises(UserError, match="unknown gradient of virolbi 'straight'"):
        ViRoLBI().with_surrogate("straight")
