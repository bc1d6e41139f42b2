"""Attacks: inside the ball, as strong as theory says, and the same for every batch."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attacks import SHAPE, STD, Linear, accuracy, ball, network, pictures, run, source
from torch import nn
from torch.nn import functional

from harness.attacks.base import Attack, Budget, loss_gradient, random_start
from harness.attacks.gradient import FGSM, PGD
from harness.attacks.losses import cross_entropy
from harness.contracts.model import NormalizedModel, Pipeline
from harness.errors import UserError
from harness.registry import attacks

ROUNDING = 1e-6


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from more, and wait for them on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=3), PGD(steps=1, relative_step=50.0)])
@settings(max_examples=15, deadline=None)
@given(
    epsilon=st.floats(1e-4, 1.0),
    space=st.sampled_from(["pixel", "normalized"]),
    seed=st.integers(0, 100),
)
def test_an_example_stays_inside_the_ball_and_the_box(attack: Attack, epsilon: float, space: Any, seed: int) -> None:
    model, images = network(seed), pictures(4, seed=seed)
    budget = Budget.of(epsilon, space, model.std)

    adversarial = run(attack, model, images, torch.tensor([0, 1, 2, 0]), budget=budget, seed=seed)

    assert adversarial.shape == images.shape
    assert adversarial.dtype == torch.float32
    assert not adversarial.requires_grad
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    change = (adversarial - images).abs()
    reach = change if space == "pixel" else change / torch.tensor(STD)[:, None, None]
    assert reach.max() <= epsilon * (1 + 1e-5) + ROUNDING
    assert change.max() > 0


def test_a_radius_on_normalised_images_is_smaller_in_pixels() -> None:
    std = torch.tensor(STD)[:, None, None]

    assert torch.allclose(Budget.of(0.1, "normalized", std).radius, 0.1 * std)
    assert torch.equal(Budget.of(0.1, "pixel", std).radius, torch.full((3, 1, 1), 0.1))


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.integers(0, 1000))
def test_clipping_is_the_nearest_point_of_ball_and_box(epsilon: float, seed: int) -> None:
    images, wanted = pictures(2, seed=seed), torch.randn((2, *SHAPE), generator=source(seed))
    radius = torch.full((3, 1, 1), epsilon)

    clipped = Budget(epsilon=epsilon, scale=torch.ones(3, 1, 1)).clip(wanted, images)

    expected = np.clip(np.clip(wanted.numpy(), (images - radius).numpy(), (images + radius).numpy()), 0, 1)
    np.testing.assert_allclose(clipped.numpy(), expected, atol=ROUNDING)
    torch.testing.assert_close(Budget(epsilon=epsilon, scale=torch.ones(3, 1, 1)).clip(clipped, images), clipped)


@pytest.mark.parametrize("draws", [0, -1])
def test_a_budget_without_draws_is_refused(draws: int) -> None:
    with pytest.raises(UserError, match=f"draws must be 1 or more, got {draws}"):
        ball(draws=draws)


def test_the_loss_gradient_is_that_of_the_summed_cross_entropy() -> None:
    model, images, labels = network(), pictures(5), torch.tensor([0, 1, 2, 0, 1])
    point = images.clone().requires_grad_()
    logits = model(point)
    (logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]).sum().backward()

    torch.testing.assert_close(
        loss_gradient(model, images, lambda logits: cross_entropy(logits, labels)).gradient, point.grad
    )


class Cube(nn.Module):
    """A smooth preprocessor whose derivative differs from pixel to pixel."""

    calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return images**3


def test_the_loss_gradient_passes_a_preprocessor_once_for_all_draws() -> None:
    images, labels, front = pictures(4), torch.tensor([0, 1, 1, 0]), Cube()
    whole = nn.Sequential(Cube(), Noisy(noise=1.0))

    loss = functools.partial(cross_entropy, labels=labels)
    layered = loss_gradient(Pipeline(front, Noisy(noise=1.0)), images, loss, draws=5)

    torch.testing.assert_close(layered, loss_gradient(whole, images, loss, draws=5))
    assert front.calls == 1


def test_a_random_start_fills_the_ball() -> None:
    images = torch.full((200, *SHAPE), 0.5)
    start = random_start(images, ball(0.1), seed=0, name="x", indices=np.arange(200))

    offsets = (start - images) / 0.1
    assert offsets.abs().max() <= 1 + 1e-5
    assert abs(offsets.mean().item()) < 0.02
    assert offsets.std().item() == pytest.approx(3**-0.5, abs=0.01)


def corner(model: Linear, images: torch.Tensor, labels: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The strongest example against a linear model of two classes, in closed form."""
    direction = (model.weight[1 - labels] - model.weight[labels]).detach().sign().view_as(images)
    return (images + epsilon * direction).clamp(0, 1)


@pytest.mark.parametrize("epsilon", [1 / 255, 8 / 255, 0.3])
@pytest.mark.parametrize("attack", [FGSM(), PGD(), PGD(steps=8), PGD(steps=4, relative_step=0.5)])
def test_on_a_linear_model_the_best_corner_is_reached(attack: Attack, epsilon: float) -> None:
    model, images, labels = Linear(), pictures(), torch.tensor([0, 1] * 4)

    adversarial = run(attack, model, images, labels, budget=ball(epsilon))

    torch.testing.assert_close(adversarial, corner(model, images, labels, epsilon), atol=ROUNDING, rtol=0)


def test_too_few_steps_do_not_reach_the_corner() -> None:
    model, images, labels = Linear(), pictures(), torch.tensor([0, 1] * 4)

    adversarial = run(PGD(steps=3), model, images, labels)

    assert (adversarial - corner(model, images, labels, 8 / 255)).abs().max() > 1 / 255


def test_one_step_moves_every_pixel_by_the_radius_of_its_channel() -> None:
    model = network()
    budget = Budget.of(0.05, "normalized", model.std)
    images = torch.full((2, *SHAPE), 0.5)

    change = (run(FGSM(), model, images, torch.tensor([0, 1]), budget=budget) - images).abs()

    torch.testing.assert_close(change, budget.radius.expand_as(change), atol=ROUNDING, rtol=0)


@pytest.fixture(scope="module")
def trained() -> tuple[NormalizedModel, torch.Tensor, torch.Tensor]:
    """A network that tells apart three coarse patterns under noise, and its test images."""
    model = network()
    patterns = torch.rand((3, *SHAPE), generator=source(5)) * 0.25
    labels = torch.arange(240) % 3
    images = (patterns[labels] + 0.35 + 0.12 * torch.randn((240, *SHAPE), generator=source(6))).clamp(0, 1)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(images[:180]), labels[:180]).backward()
        optimizer.step()
    return model, images[180:], labels[180:]


def test_a_stronger_attack_leaves_less_accuracy(trained: tuple[NormalizedModel, torch.Tensor, torch.Tensor]) -> None:
    model, images, labels = trained
    clean = accuracy(model, images, labels)
    noise = random_start(images, ball(0.08), seed=0, name="noise", indices=np.arange(60))

    left = {
        (name, epsilon): accuracy(model, run(attack, model, images, labels, budget=ball(epsilon)), labels)
        for name, attack in (("fgsm", FGSM()), ("pgd", PGD()))
        for epsilon in (0.02, 0.04, 0.08, 0.3)
    }

    assert clean > 0.9
    assert accuracy(model, noise, labels) > 0.8
    for epsilon in (0.02, 0.04, 0.08, 0.3):
        assert left["pgd", epsilon] <= left["fgsm", epsilon] <= clean
    assert left["pgd", 0.02] > left["pgd", 0.08]
    assert left["pgd", 0.3] == 0


def test_more_steps_raise_the_loss(trained: tuple[NormalizedModel, torch.Tensor, torch.Tensor]) -> None:
    model, images, labels = trained
    losses = [
        functional.cross_entropy(model(run(PGD(steps=steps), model, images, labels)), labels).item()
        for steps in (1, 3, 20)
    ]

    assert losses == sorted(losses)


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=5)])
def test_an_example_does_not_depend_on_its_batch_mates(attack: Attack) -> None:
    model, images, labels = network().double(), pictures().double(), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    indices = np.arange(8) * 11
    together = run(attack, model, images, labels, indices=indices)

    for rows in ([3], [7, 0, 4], [1, 2]):
        alone = run(attack, model, images[rows], labels[rows], indices=indices[rows])
        torch.testing.assert_close(alone, together[rows], atol=1e-9, rtol=0)


def test_the_random_start_follows_seed_and_index() -> None:
    model, images, labels = network(), pictures(1).expand(2, -1, -1, -1), torch.tensor([0, 0])
    first, again, other = (run(PGD(steps=1), model, images, labels, seed=seed) for seed in (0, 0, 1))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=2)])
def test_model_and_images_are_left_as_they_were(attack: Attack) -> None:
    model, images = network(), pictures(4)
    weights, pixels = {name: value.clone() for name, value in model.state_dict().items()}, images.clone()

    run(attack, model, images, torch.tensor([0, 1, 2, 0]))

    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(images, pixels)
    assert not images.requires_grad


def test_a_frozen_model_can_be_attacked() -> None:
    model, images = network().requires_grad_(False), pictures(4)

    assert not torch.equal(run(PGD(), model, images, torch.tensor([0, 1, 2, 0])), images)


class Noisy(nn.Module):
    """A linear model whose weights are drawn anew at every call, around a mean."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.mean = Linear().weight.detach()
        self.noise = noise
        self.source = source(3)

    def draw(self) -> torch.Tensor:
        return self.mean + self.noise * torch.randn(self.mean.shape, generator=self.source)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.draw().T


def test_draws_of_a_stochastic_model_are_added_up() -> None:
    images, labels, model = pictures(4), torch.tensor([0, 1, 1, 0]), Noisy(noise=1.0)
    expected = torch.zeros_like(images)
    for weights in [model.draw() for _ in range(6)]:
        wrong = (images.flatten(1) @ weights.T).softmax(1) - functional.one_hot(labels, 2)
        expected += (wrong @ weights).view_as(images)

    result = loss_gradient(Noisy(noise=1.0), images, lambda logits: cross_entropy(logits, labels), draws=6)
    torch.testing.assert_close(result.gradient, expected / 6)


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=20)])
def test_averaging_over_draws_makes_the_stronger_attack(attack: Attack) -> None:
    images, labels = torch.full((8, *SHAPE), 0.5), torch.tensor([0, 1] * 4)
    best = corner(Linear(), images, labels, 8 / 255)

    misses = [
        float((run(attack, Noisy(noise=2.0), images, labels, budget=ball(draws=draws)) - best).abs().mean())
        for draws in (1, 10, 100)
    ]

    assert misses == sorted(misses, reverse=True)
    assert misses[2] < misses[0] / 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pgd:steps=0", "steps must be 1 or more, got 0"),
        ("pgd:relative_step=0", "must be a number above 0"),
        ("pgd:relative_step=nan", "must be a number above 0"),
        ("pgd:relative_step=inf", "must be a number above 0"),
        ("pgd:step=3", "Its parameters: steps, relative_step, restarts, loss, targets, early_stop."),
        ("pdg", "Did you mean pgd"),
    ],
)
def test_a_wrong_attack_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        attacks.create(text)

    assert message in str(error.value)
