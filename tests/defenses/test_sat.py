"""Self-adaptive training: its targets, its loss against NumPy, and an interrupted training's memory."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from support.rounding import EPS
from torch import nn
from torch.nn import functional

from defenses.sat import TARGETS, SelfAdaptiveTraining
from harness.cache import ArrayCache
from harness.contracts.model import NormalizedModel
from harness.errors import UserError
from harness.models import checkpoints
from harness.registry import defenses
from harness.training.job import TrainingJob
from harness.training.loop import train
from harness.training.optimization import make_optimizer, make_schedule
from harness.types import Batch, Recipe, Split, TrainingState

CLASSES = 3
LATE, EARLY = 69, 68
"""Epochs of a hundred, from 0, in which targets move, and in which they do not yet."""


def network(*, norm: bool = True) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ReLU(), nn.Flatten()]
        return NormalizedModel(nn.Sequential(*layers, nn.Linear(256, CLASSES)), (0.5,) * 3, (0.25,) * 3).train()


def batch(indices: list[int], seed: int = 1) -> Batch:
    images = torch.rand(len(indices), 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    rows = torch.tensor(indices)
    return Batch(images, rows % CLASSES, rows)


def state(epoch: int, memory: dict[str, torch.Tensor] | None = None) -> TrainingState:
    return TrainingState(epoch, 100, torch.Generator().manual_seed(2), {} if memory is None else memory)


def clean_loss(model: nn.Module, given: Batch, this: TrainingState) -> float:
    """The loss without the divergence."""
    return SelfAdaptiveTraining(beta=0.0).loss(model, given, this).item()


def logits_of(model: nn.Module, given: Batch) -> np.ndarray:
    return model(given.images).detach().numpy()


def test_targets_and_loss_equal_numpys_over_several_batches():
    """t ← 0.9t + 0.1p, t one-hot at first; mean of w·CE(t, logits) with w = max t over its mean."""
    model, memory = network(norm=False), {}
    table = np.eye(CLASSES)[np.arange(9) % CLASSES]

    for turn, rows in enumerate([[4, 0, 7], [1, 2, 8, 4], [0, 7, 4], [6]]):
        given = batch(rows, seed=turn)
        logits = logits_of(model, given)
        table[rows] = 0.9 * table[rows] + 0.1 * softmax(logits, axis=1)
        weights = table[rows].max(1) / table[rows].max(1).mean()
        expected = np.mean(weights * -(table[rows] * log_softmax(logits, axis=1)).sum(1))

        assert clean_loss(model, given, state(LATE, memory)) == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(memory[TARGETS][rows], table[rows], atol=1e-6)

    assert memory[TARGETS].shape == (9, CLASSES)
    assert (memory[TARGETS][[3, 5]] == 0).all()  # not met


def test_before_their_time_targets_are_the_labels_and_nothing_is_remembered():
    model, given, memory = network(norm=False), batch([0, 1, 5]), {}

    loss = clean_loss(model, given, state(EARLY, memory))

    assert loss == pytest.approx(functional.cross_entropy(model(given.images), given.labels).item())
    assert memory == {}


@pytest.mark.parametrize(("epochs", "first"), [(100, 70), (12, 8), (10, 7), (1, 1)])
def test_targets_move_from_seven_tenths_of_the_epochs_on_counted_from_one(epochs: int, first: int):
    moving = []
    for epoch in range(epochs):
        this = TrainingState(epoch, epochs, torch.Generator())
        SelfAdaptiveTraining(steps=1).loss(network(norm=False), batch([0]), this)
        moving.append(TARGETS in this.memory)

    assert moving == [number >= first for number in range(1, epochs + 1)]


def test_targets_take_no_gradient():
    given, this = batch([0, 1]), state(LATE)
    model = network(norm=False)

    SelfAdaptiveTraining(beta=0.0, momentum=0.0).loss(model, given, this).backward()
    twin = network(norm=False)
    functional.cross_entropy(twin(given.images), given.labels).backward()

    # With targets = softmax(logits) as constants the gradient of the cross-entropy by the logits vanishes; each share
    # is rounded a few times, where with labels it would be off by the order of 1.
    assert not this.memory[TARGETS].requires_grad
    for value, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert value.grad.abs().max() < 100 * EPS * other.grad.abs().max()


def published_divergence(model: nn.Module, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """TRADES' second term, written out: ten steps on KL in evaluation mode, then KL(clean‖adversarial) in training."""
    model.eval()
    clean = model(images).softmax(1).detach()
    point = (images + 0.001 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    for _ in range(10):
        point = point.detach().requires_grad_()
        divergence = (clean * (clean.log() - model(point).log_softmax(1))).sum()
        (gradient,) = torch.autograd.grad(divergence, point)
        point = torch.clamp(point.detach() + 0.007 * gradient.sign(), images - 0.031, images + 0.031).clamp(0, 1)
    model.train()
    clean = model(images).softmax(1)
    return (clean * (clean.log() - model(point).log_softmax(1))).sum(1).mean()


def test_loss_and_gradients_are_the_published_ones_of_trades():
    model, given = network(), batch([0, 1, 2, 3, 4, 5])
    twin = copy.deepcopy(model)

    loss = SelfAdaptiveTraining().loss(model, given, state(EARLY))
    loss.backward()

    divergence = published_divergence(twin, given.images, state(EARLY).generator)
    fresh = copy.deepcopy(network())
    natural = functional.cross_entropy(fresh(given.images), given.labels)
    torch.testing.assert_close(loss, natural + 6 * divergence, rtol=1e-4, atol=1e-6)
    natural.backward()
    (6 * divergence).backward()
    for parameter, one, other in zip(model.parameters(), fresh.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, one.grad + other.grad, rtol=1e-3, atol=1e-5)


def test_the_examples_are_crafted_in_evaluation_mode_inside_the_ball():
    model, given = network(), batch([0, 1, 2, 3])
    seen: list[tuple[bool, torch.Tensor]] = []
    model.register_forward_pre_hook(lambda module, args: seen.append((module.training, args[0].detach().clone())))

    SelfAdaptiveTraining().loss(model, given, state(EARLY))

    assert [training for training, _ in seen] == [False] * 11 + [True] * 2
    assert torch.equal(seen[-2][1], given.images)
    moved = (seen[-1][1] - given.images).abs()
    assert 0.03 < moved.max() <= 0.031 + 1e-6
    assert seen[-1][1].min() >= 0
    assert seen[-1][1].max() <= 1
    assert model.network[1].num_batches_tracked.item() == 2


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("epoch", [EARLY, LATE])
def test_every_weight_gets_a_gradient(amp: bool, epoch: int):
    model, this = network(), state(epoch)

    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        loss = SelfAdaptiveTraining().loss(model, batch([0, 1, 2]), this)
    loss.backward()

    assert loss.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in this.memory.values())
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in model.parameters())


def job(folder: Path, defense: SelfAdaptiveTraining) -> TrainingJob:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 3, 8, 8), dtype=np.uint8)
    split = Split(images=images, labels=np.arange(24) % CLASSES, indices=np.arange(24) * 5, digest="d")
    return TrainingJob(
        defense=defense,
        recipe=Recipe(epochs=6, batch_size=8, learning_rate=0.05, schedule="multi_step"),
        split=split,
        seed=1,
        path=folder / "model.pt",
        metadata={"defense": "sat"},
        cache=ArrayCache(folder / "cache"),
        device=torch.device("cpu"),
    )


class Breaking(SelfAdaptiveTraining):
    """Self-adaptive training whose targets move from the second epoch, interrupted in the middle of one."""

    label = "sat"

    def __init__(self, breaks_in: int | None = None) -> None:
        super().__init__(steps=1, start=2 / 6)
        self.breaks_in = breaks_in
        self.batches = 0
        self.targets = torch.empty(0)

    def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
        self.batches += 1
        if state.epoch == self.breaks_in and self.batches % 3 == 2:
            raise KeyboardInterrupt
        loss = super().loss(model, batch, state)
        self.targets = state.memory.get(TARGETS, self.targets)
        return loss


def trained(this: TrainingJob) -> dict[str, torch.Tensor]:
    model = network()
    train(model, this)
    return model.state_dict()


@pytest.mark.parametrize("breaks_in", [0, 1, 2, 5])
def test_an_interrupted_training_resumes_with_its_targets_to_the_same_bits(tmp_path: Path, breaks_in: int):
    whole, rest = Breaking(), Breaking()
    expected = trained(job(tmp_path / "whole", whole))

    with pytest.raises(KeyboardInterrupt):
        trained(job(tmp_path, Breaking(breaks_in)))
    weights = trained(job(tmp_path, rest))

    assert rest.batches == 3 * (6 - breaks_in)
    assert torch.equal(rest.targets, whole.targets)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_second_training_does_not_begin_with_the_firsts_targets(tmp_path: Path):
    defense = Breaking()

    first, second = (trained(job(tmp_path / name, defense)) for name in ("a", "b"))

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_state_without_its_memory_means_starting_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(KeyboardInterrupt):
        trained(job(tmp_path, Breaking(4)))
    content = checkpoints.read(tmp_path / "model.state")
    assert content.pop("memory")[TARGETS].shape == (24, CLASSES)
    torch.save(content, tmp_path / "model.state")
    rest = Breaking()

    trained(job(tmp_path, rest))

    assert rest.batches == 18
    assert "starts again" in capsys.readouterr().err


def test_the_paper_preset_is_the_published_schedule_and_quick_the_usual_one():
    base = Recipe(epochs=12, learning_rate=0.2, batch_size=64)

    paper, quick = (SelfAdaptiveTraining().recipe(base, preset) for preset in ("paper", "quick"))

    assert (paper.epochs, paper.batch_size, paper.momentum, paper.weight_decay) == (100, 128, 0.9, 2e-4)
    assert not paper.nesterov
    assert quick == dataclasses.replace(base, weight_decay=2e-4)


def published_rates() -> list[float]:
    """The learning rate of each epoch in the published loop: epochs from 1, the schedule set before each of them."""
    return [0.1 * 0.1 ** sum(epoch >= milestone for milestone in (75, 90, 100)) for epoch in range(1, 101)]


@pytest.mark.parametrize("steps", [1, 7])
def test_the_learning_rate_of_every_step_is_the_published_epochs(steps: int):
    recipe = SelfAdaptiveTraining().recipe(Recipe(epochs=12, learning_rate=0.1), "paper")
    optimizer = make_optimizer(network(), recipe)
    schedule = make_schedule(optimizer, recipe, steps)

    rates = []
    for _ in range(100 * steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()

    np.testing.assert_allclose(rates, np.repeat(published_rates(), steps), rtol=1e-9)


@pytest.mark.parametrize(
    ("option", "value"),
    [("beta", -1.0), ("beta", math.inf), ("start", 1.5), ("momentum", -0.1), ("momentum", math.nan)],
)
def test_options_out_of_range_are_refused(option: str, value: Any):
    with pytest.raises(UserError, match=f"sat: {option} must be .*, got {value:g}"):
        defenses.create(f"sat:{option}={value}")
