"""Attacks beyond the plain L∞ ones: L2 balls, other losses, aims, restarts, early stops; and Foolbox's on the same."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attacks import MEAN, STD, Linear, Times, accuracy, ball, network, pictures, run, source
from torch import nn
from torch.nn import functional

from harness.attacks import losses
from harness.attacks.base import Budget, random_start
from harness.attacks.gradient import FGSM, PGD
from harness.contracts.model import NormalizedModel
from harness.errors import UserError
from harness.registry import attacks

# L2 balls


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=3), PGD(steps=2, relative_step=50.0)])
@settings(max_examples=15, deadline=None)
@given(epsilon=st.floats(1e-3, 5.0), space=st.sampled_from(["pixel", "normalized"]), seed=st.integers(0, 100))
def test_an_example_stays_inside_the_l2_ball_and_the_box(attack, epsilon, space, seed):
    model, images = network(seed), pictures(4, seed=seed)
    budget = Budget.of(epsilon, space, model.std, norm="L2")

    adversarial = run(attack, model, images, torch.tensor([0, 1, 2, 0]), budget=budget, seed=seed)

    change = (adversarial - images) if space == "pixel" else (adversarial - images) / model.std
    assert change.flatten(1).norm(dim=1).max() <= epsilon * (1 + 1e-5) + 1e-6
    torch.testing.assert_close(budget.distance(adversarial, images), change.flatten(1).norm(dim=1))
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert (adversarial != images).flatten(1).any(1).all()


def test_one_l2_step_on_a_linear_model_is_the_steepest():
    model, images, labels = Linear(), torch.full((2, 3, 6, 6), 0.5), torch.tensor([0, 1])
    direction = (model.weight[1 - labels] - model.weight[labels]).detach()

    adversarial = run(FGSM(), model, images, labels, budget=ball(0.3, norm="L2"))

    expected = 0.5 + (0.3 * direction / direction.norm(dim=1, keepdim=True)).view_as(images)
    torch.testing.assert_close(adversarial, expected)


def test_the_steepest_step_in_an_ellipsoid_beats_all_others():
    scale = torch.tensor(STD)[:, None, None]
    budget, gradient = ball(0.4, norm="L2", scale=scale), torch.randn((1, 3, 6, 6), generator=source(0))
    others = torch.randn((500, 3, 6, 6), generator=source(1))
    others = 0.4 * scale * others / others.flatten(1).norm(dim=1)[:, None, None, None]

    best = float((budget.step(gradient) * gradient).sum())

    assert best > float((others * gradient).flatten(1).sum(1).max())
    torch.testing.assert_close(budget.distance(budget.step(gradient), torch.zeros(1, 3, 6, 6)), torch.tensor([0.4]))


def test_no_gradient_is_no_step():
    zero = torch.zeros(2, 3, 6, 6)

    for norm in ("L2", "Linf"):
        assert torch.equal(ball(0.1, norm=norm).step(zero), zero)


def test_a_random_start_fills_the_l2_ball():
    images = torch.full((300, 3, 6, 6), 0.5)

    offsets = random_start(images, ball(0.4, norm="L2"), seed=0, name="x", indices=np.arange(300)) - images

    lengths = offsets.flatten(1).norm(dim=1) / 0.4
    assert lengths.max() <= 1 + 1e-5
    assert float((lengths**108).mean()) == pytest.approx(0.5, abs=0.06)  # the share of volume within is uniform
    assert offsets.mean().abs() < 1e-3


# Losses


def test_the_losses_of_a_hand_worked_case():
    logits, labels, targets = torch.tensor([[4.0, 1.0, 3.0, 0.0]]), torch.tensor([0]), torch.tensor([1])

    assert losses.margin(logits, labels).item() == -1
    assert losses.dlr(logits, labels).item() == pytest.approx(-1 / (4 - 1))
    assert losses.targeted_dlr(logits, labels, targets).item() == pytest.approx((1 - 4) / (4 - (1 + 0) / 2))
    probability = np.exp(1) / np.exp([4.0, 1.0, 3.0, 0.0]).sum()
    assert losses.targeted_cross_entropy(logits, labels, targets).item() == pytest.approx(np.log(probability))


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_a_loss_has_a_sign_where_the_model_errs(name):
    logits = torch.randn((50, 6), generator=source(0))
    labels = torch.arange(50) % 6
    wrong = logits.argmax(1) != labels

    values = losses.LOSSES[name](logits, labels)

    assert values.shape == (50,)
    if name != "ce":
        assert torch.equal(values > 0, wrong)
    assert values[wrong].mean() > values[~wrong].mean()


def test_dlr_does_not_change_with_the_scale_of_the_logits():
    logits, labels = torch.randn((20, 6), generator=source(0)), torch.arange(20) % 6

    torch.testing.assert_close(losses.dlr(1000 * logits, labels), losses.dlr(logits, labels))


@pytest.mark.parametrize(
    ("text", "classes", "least"), [("pgd:loss=dlr", 2, "dlr needs 3"), ("pgd:loss=dlr,targets=2", 3, "dlr needs 4")]
)
def test_a_loss_for_more_classes_says_so(text, classes, least):
    model = NormalizedModel(nn.Sequential(nn.Flatten(), nn.Linear(108, classes)), MEAN, STD)

    with pytest.raises(UserError, match=least):
        run(attacks.create(text), model, pictures(2), torch.tensor([0, 1]))


def test_a_scaled_model_hides_nothing_from_dlr(victim):
    """Logits so large that the probability of the true class rounds to 1 leave the cross-entropy no gradient."""
    model, images, labels = victim
    scaled = NormalizedModel(nn.Sequential(model.network, Times(1e5)), MEAN, STD)
    budget = ball(0.05, norm="Linf")

    ce, dlr = (
        accuracy(model, run(PGD(loss=loss), scaled, images, labels, budget=budget), labels) for loss in ("ce", "dlr")
    )

    assert dlr < ce


# Options of PGD


def test_an_early_stop_leaves_the_same_images_wrong_or_more(victim):
    model, images, labels = victim
    budget = ball(0.045, norm="Linf")

    whole, early = (run(PGD(early_stop=stop), model, images, labels, budget=budget) for stop in (False, True))

    right = [(model(adversarial).argmax(1) == labels) for adversarial in (whole, early)]
    assert not (right[1] & ~right[0]).any()
    assert budget.distance(early, images).mean() < budget.distance(whole, images).mean()


def test_restarts_only_ever_fool_more(victim):
    model, images, labels = victim
    budget = ball(0.06, norm="Linf")

    results = [run(PGD(steps=3, restarts=restarts), model, images, labels, budget=budget) for restarts in (1, 2, 6)]

    right = [model(adversarial).argmax(1) == labels for adversarial in results]
    assert not (right[1] & ~right[0]).any()
    assert not (right[2] & ~right[1]).any()
    assert right[2].sum() < right[0].sum()
    fooled = ~right[0]
    assert torch.equal(results[2][fooled], results[0][fooled])


@pytest.mark.parametrize("loss", sorted(losses.TARGETED))
def test_aiming_at_every_class_reaches_what_aiming_at_one_does_not(victim, loss):
    model, images, labels = victim
    budget = ball(0.045, norm="Linf")

    right = [
        model(run(PGD(loss=loss, targets=targets), model, images, labels, budget=budget)).argmax(1) == labels
        for targets in (1, 4)
    ]

    assert right[1].sum() <= right[0].sum() < (model(images).argmax(1) == labels).sum()


@pytest.mark.parametrize("text", ["pgd:restarts=3,early_stop=true", "pgd:loss=dlr,targets=4", "pgd:loss=margin"])
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_the_batch_does_not_matter(text, norm, victim):
    model, images, labels = copy.deepcopy(victim[0]).double(), victim[1][:9].double(), victim[2][:9]
    attack, indices, budget = attacks.create(text), np.arange(9) * 7, ball(0.05 if norm == "Linf" else 0.4, norm=norm)

    together = run(attack, model, images, labels, indices=indices, budget=budget)

    for rows in ([4], [8, 0, 3]):
        alone = run(attack, model, images[rows], labels[rows], indices=indices[rows], budget=budget)
        torch.testing.assert_close(alone, together[rows], atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pgd:restarts=0", "restarts must be 1 or more, got 0"),
        ("pgd:targets=-1", "targets must be 0 or more, got -1"),
        ("pgd:loss=dlt", "unknown loss 'dlt'"),
        ("pgd:loss=margin,targets=2", "losses that can aim at a class are ce, dlr, got margin"),
    ],
)
def test_wrong_options_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        attacks.create(text)


# An independent implementation


@pytest.fixture(scope="module")
def bent() -> tuple[NormalizedModel, torch.Tensor, torch.Tensor]:
    """A deeper network on classes of four patterns each, so bent that one step finds far less than twenty."""
    labels, which = torch.arange(1400) % 5, torch.randint(0, 4, (1400,), generator=source(7))
    patterns = torch.rand((5, 4, 3, 6, 6), generator=source(5)) * 0.5 + 0.25
    images = (patterns[labels, which] + 0.05 * torch.randn((1400, 3, 6, 6), generator=source(6))).clamp(0, 1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = [nn.Conv2d(3, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 16, 3), nn.Tanh(), nn.Flatten()]
        model = NormalizedModel(nn.Sequential(*first, nn.Linear(256, 64), nn.Tanh(), nn.Linear(64, 5)), MEAN, STD)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(images[:800]), labels[:800]).backward()
        optimizer.step()
    return model.eval(), images[800:], labels[800:]


@pytest.mark.parametrize(("norm", "epsilon"), [("Linf", 0.045), ("L2", 0.35)])
def test_success_is_that_of_foolbox_and_of_nothing_weaker(bent, norm, epsilon):
    foolbox = pytest.importorskip("foolbox")
    model, images, labels = bent
    kind = foolbox.attacks.LinfPGD if norm == "Linf" else foolbox.attacks.L2PGD
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        *_, success = kind(rel_stepsize=0.25, steps=20)(theirs, images, labels, epsilons=epsilon)
    expected = float(success.float().mean())

    ours, short, one_step = (
        1 - accuracy(model, run(attack, model, images, labels, budget=ball(radius, norm=norm)), labels)
        for attack, radius in ((PGD(), epsilon), (PGD(), 0.9 * epsilon), (FGSM(), epsilon))
    )

    off = 2 * np.sqrt(expected * (1 - expected) / len(images))
    assert 0.3 < expected < 0.9
    assert abs(ours - expected) <= off
    assert short < expected - off
    assert one_step < expected - 0.2
