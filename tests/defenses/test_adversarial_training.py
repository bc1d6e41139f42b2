"""Adversarial training: what it trains on, how that is crafted, and its schedule."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from defenses._adversarial import close_start, frozen, pgd, summed_divergence
from defenses.adversarial_training import AdversarialTraining
from harness.errors import UserError
from harness.registry import defenses
from harness.training.optimization import make_optimizer
from harness.types import Batch, Recipe, TrainingState


def network() -> nn.Module:
    """A convolution, a batch norm, a linear layer; 3×6×6 images, two classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 2)).train()


def batch(count: int = 16, contrast: float = 0.3) -> Batch:
    """Two classes, dark and bright, with noise up to both ends of [0,1]."""
    labels = torch.arange(count) % 2
    noise = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return Batch((noise * (1 - contrast) + contrast * labels[:, None, None, None]), labels, torch.arange(count))


def state(seed: int = 2) -> TrainingState:
    return TrainingState(0, 1, torch.Generator().manual_seed(seed))


def seen_by(model: nn.Module) -> list[torch.Tensor]:
    """The images of every forward pass from now on."""
    seen: list[torch.Tensor] = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    return seen


def test_the_last_pass_is_on_adversarial_images_in_the_ball_and_the_box():
    model, given = network(), batch()
    seen = seen_by(model)

    loss = AdversarialTraining().loss(model, given, state())

    moved = (seen[-1] - given.images).abs()
    assert len(seen) == 11
    assert moved.max() <= 8 / 255 + 1e-6
    assert (moved > 7.9 / 255).float().mean() > 0.5
    assert (seen[-1].min(), seen[-1].max()) == (0, 1)
    assert loss > functional.cross_entropy(model(given.images), given.labels)


def test_the_loss_is_the_cross_entropy_of_the_examples_with_the_labels():
    """Step by step: uniform start, ten moves of 2/255 by the sign in training mode, each clipped to ball and box."""
    model, given = network(), batch()
    twin = copy.deepcopy(model)

    loss = AdversarialTraining().loss(model, given, state())

    x = given.images
    point = x + (torch.rand(x.shape, generator=state().generator) * 2 - 1) * 8 / 255
    point = point.clamp(0, 1)
    for _ in range(10):
        point.requires_grad_()
        functional.cross_entropy(twin(point), given.labels).backward()
        with torch.no_grad():
            point = (point + 2 / 255 * point.grad.sign()).clamp(x - 8 / 255, x + 8 / 255).clamp(0, 1)
    torch.testing.assert_close(loss, functional.cross_entropy(twin(point), given.labels))
    torch.testing.assert_close(model[1].running_mean, twin[1].running_mean)


def test_crafting_in_training_mode_counts_in_the_statistics_and_leaves_no_gradient():
    model = network()
    model[1].eval()
    weights = [value.clone() for value in model.parameters()]

    AdversarialTraining().craft(model, batch(), state())
    kept = model[1].num_batches_tracked.item()
    AdversarialTraining().craft(model.train(), batch(), state())

    assert (kept, model[1].num_batches_tracked.item()) == (0, 10)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert all(value.grad is None and value.requires_grad for value in model.parameters())


@pytest.mark.parametrize("name", ["adversarial_training", "awp"])
def test_after_each_step_the_statistics_see_the_clean_batch_and_nothing_else_moves(name: str):
    """A momentum of 0.1 gives the twelfth pass of a step a seventh: 0.1 / (1 − 0.9¹²) = 0.139."""
    model, given, defense = network(), batch(), defenses.create(name)
    defense.loss(model, given, state())
    weights, before = [value.clone() for value in model.parameters()], model[1].running_mean.clone()

    defense.after_step(model, given, state())

    clean = model[0](given.images).mean((0, 2, 3)).detach()
    torch.testing.assert_close(model[1].running_mean, 0.9 * before + 0.1 * clean)
    assert model[1].num_batches_tracked.item() == 12
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert all(value.grad is None for value in model.parameters())


def test_holding_still_without_evaluation_leaves_every_mode():
    model = network()
    model[1].eval()

    with frozen(model, evaluation=False):
        assert [module.training for module in model] == [True, False, True, True, True]
        assert not any(value.requires_grad for value in model.parameters())

    assert all(value.requires_grad for value in model.parameters())


def test_options_set_the_attack():
    model, given = network(), batch()
    seen = seen_by(model)

    AdversarialTraining(epsilon=0.1, step=0.01, steps=3).loss(model, given, state())

    start, last = seen[0], seen[-1]
    assert len(seen) == 4
    assert 0.09 < (start - given.images).abs().max() <= 0.1 + 1e-6
    assert (last - start).abs().max() <= 0.03 + 1e-6


@pytest.mark.parametrize("amp", [False, True])
def test_every_weight_gets_a_gradient(amp: bool):
    model = network()

    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        loss = AdversarialTraining().loss(model, batch(), state())
    loss.backward()

    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in model.parameters())


def test_training_makes_the_network_resist():
    """Plain training of the same length leaves this network open to the same attack."""

    def robust_accuracy(defense: str) -> float:
        model, given = network(), batch(64, contrast=0.12)
        optimizer = make_optimizer(model, Recipe(epochs=1, learning_rate=0.05))
        for seed in range(40):
            loss = defenses.create(defense).loss(model, given, state(seed))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with frozen(model):
            attacked = pgd(
                model, given.images, given.labels, epsilon=8 / 255, step=2 / 255, steps=10, generator=state().generator
            )
            return (model(attacked).argmax(1) == given.labels).float().mean().item()

    assert robust_accuracy("adversarial_training:epsilon=0.05") > robust_accuracy("vanilla") + 0.2


@pytest.mark.parametrize("name", ["adversarial_training", "awp"])
def test_the_paper_preset_is_the_published_schedule_and_quick_the_usual_one(name: str):
    defense, base = defenses.create(name), Recipe(epochs=12, learning_rate=0.2, batch_size=64, augment=False)

    paper, quick = defense.recipe(base, "paper"), defense.recipe(base, "quick")

    assert (paper.epochs, paper.batch_size, paper.momentum, paper.weight_decay) == (200, 128, 0.9, 5e-4)
    assert not paper.nesterov
    assert (paper.schedule, [share * 200 for share in paper.milestones]) == ("multi_step", [100, 150])
    assert quick == dataclasses.replace(base, weight_decay=5e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adversarial_training:epsilon=8", r"adversarial_training: epsilon must be above 0 and at most 1.*got 8\."),
        ("adversarial_training:epsilon=nan", "epsilon must be .*got nan"),
        ("adversarial_training:step=0", "step must be above 0 .*got 0"),
        ("adversarial_training:steps=0", "steps must be 1 or more, got 0"),
        ("awp:steps=-1", "awp: steps must be 1 or more, got -1"),
        ("sat:epsilon=0", "sat: epsilon must be above 0"),
    ],
)
def test_an_impossible_attack_is_refused_in_the_defenses_name(text: str, message: str):
    with pytest.raises(UserError, match=message):
        defenses.create(text)


def test_a_close_start_hardly_moves_the_images():
    images = torch.full((64, 3, 8, 8), 0.5)

    moved = pgd(network(), images, images, epsilon=1, step=1, steps=0, generator=torch.Generator(), start=close_start)

    torch.testing.assert_close((moved - images).std(), torch.tensor(0.001), rtol=0.02, atol=0)


def test_the_divergence_is_kullback_leiblers_added_over_the_batch():
    """KL((½,½)‖(¾,¼)) = ½ln(½/¾) + ½ln(½/¼); nothing for an equal pair."""
    logits, probabilities = torch.tensor([[0.75, 0.25], [0.1, 0.9]]).log(), torch.tensor([[0.5, 0.5], [0.1, 0.9]])

    expected = 0.5 * torch.tensor(4 / 3).log()
    torch.testing.assert_close(summed_divergence(logits, probabilities), expected)
