"""What training is made of: batches, augmentation, the optimiser and its schedules."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.training import images as training_images
from harness.training.images import ImageStore, augment, batches
from harness.training.optimization import make_optimizer, make_schedule
from harness.types import Batch, Recipe, TrainingState

from .test_training import CPU, split


def epoch_of(images: np.ndarray, labels: np.ndarray, **changes: Any) -> list[Batch]:
    state = TrainingState(0, 1, torch.Generator().manual_seed(0))
    source, sizes = ImageStore(CPU).source(images), [16, 16, len(labels) - 32]
    return list(batches(source, labels, sizes, state, CPU, **{"augmented": False, **changes}))


def test_an_epoch_shows_every_image_once_with_its_label() -> None:
    this = split()
    found = epoch_of(this.images, this.labels)
    order = torch.cat([batch.indices for batch in found]).numpy()

    assert [len(batch.labels) for batch in found] == [16, 16, 8]
    assert sorted(order) == list(range(40))
    assert list(order) != list(range(40))
    np.testing.assert_array_equal(torch.cat([batch.labels for batch in found]), this.labels[order])
    np.testing.assert_allclose(torch.cat([batch.images for batch in found]) * 255, this.images[order], atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"augmented": True}])
def test_images_too_many_for_the_device_come_as_the_same_batches(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, bool]
) -> None:
    this = split()
    held = epoch_of(this.images, this.labels, **changes)
    monkeypatch.setattr(training_images, "_room", lambda device: 0)

    for first, second in zip(held, epoch_of(this.images, this.labels, **changes), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_images_are_kept_while_they_are_the_same_array() -> None:
    first, second = split().images, split(12).images
    store = ImageStore(CPU)
    kept = store.source(first)

    assert isinstance(kept, torch.Tensor)
    assert store.source(first) is kept
    np.testing.assert_array_equal(store.source(second), second)
    np.testing.assert_array_equal(store.source(first), first)


@pytest.mark.parametrize("room", [0, 2**30])
@pytest.mark.filterwarnings("error")
def test_read_only_arrays_are_trained_on_and_left_alone(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    this, before = split(read_only=True), split()
    monkeypatch.setattr(training_images, "_room", lambda device: room)

    for batch in epoch_of(this.images, this.labels, augmented=True):
        batch.images.zero_()
        batch.labels.zero_()

    np.testing.assert_array_equal(this.images, before.images)
    np.testing.assert_array_equal(this.labels, before.labels)


def crops_of(image: torch.Tensor, pad: int) -> torch.Tensor:
    """Every window of the padded image and its mirror image, by slicing: [.,C,H,W]."""
    _, height, width = image.shape
    padded = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (pad, pad), (pad, pad)), mode="reflect"))
    windows = [
        padded[:, top : top + height, left : left + width] for top in range(2 * pad + 1) for left in range(2 * pad + 1)
    ]
    return torch.stack([*windows, *(window.flip(-1) for window in windows)])


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 8, 12), (3, 6, 5)])
def test_augmentation_only_shifts_and_mirrors_each_image(shape: tuple[int, int, int]) -> None:
    images = torch.rand((24, *shape), generator=torch.Generator().manual_seed(0))
    pad = max(1, min(shape[1:]) // 8)

    found = augment(images, torch.Generator().manual_seed(1))

    assert found.shape == images.shape
    for image, result in zip(images, found, strict=True):
        assert (crops_of(image, pad) == result).all((1, 2, 3)).any()


def test_every_shift_and_both_directions_occur_about_equally_often() -> None:
    image = torch.rand((1, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    found = augment(image.expand(3600, -1, -1, -1), torch.Generator().manual_seed(1))

    counts = (crops_of(image[0], 1)[:, None] == found[None]).all(-1).all(-1).all(-1).sum(1)

    assert counts.sum() == 3600
    assert len(counts) == 18
    assert counts.min() > 140
    assert counts.max() < 260


def test_augmentation_is_drawn_for_each_image_from_the_generator() -> None:
    image = torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(0)).expand(16, -1, -1, -1)
    first, again, other = (augment(image, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.flatten(1).unique(dim=0)) > 8


def test_parameters_marked_so_do_not_decay() -> None:
    network = nn.Linear(3, 3)
    network.alpha = nn.Parameter(torch.ones(2))
    network.alpha.no_weight_decay = True  # type: ignore[attr-defined]
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = make_optimizer(network, Recipe(epochs=1, learning_rate=0.1, weight_decay=0.5, momentum=0.0))

    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()

    assert torch.equal(network.alpha, before["alpha"])
    torch.testing.assert_close(network.weight, before["weight"] * (1 - 0.1 * 0.5))
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == set(map(id, network.parameters()))


def test_the_optimiser_is_nesterov_with_the_recipes_momentum() -> None:
    """Two steps on a constant gradient g = 1: velocity 1, then 1+m; each step moves by lr·(g + m·velocity)."""
    weight = nn.Module()
    weight.w = nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer(weight, Recipe(epochs=1, learning_rate=0.1, weight_decay=0.0, momentum=0.9))

    for _ in range(2):
        weight.w.grad = torch.ones(1)
        optimizer.step()

    assert weight.w.item() == pytest.approx(-0.1 * ((1 + 0.9) + (1 + 0.9 * 1.9)))


def test_a_recipe_may_do_without_nesterov() -> None:
    weight = nn.Module()
    weight.w = nn.Parameter(torch.zeros(1))
    recipe = Recipe(epochs=1, learning_rate=0.1, weight_decay=0.0, momentum=0.9, nesterov=False)
    optimizer = make_optimizer(weight, recipe)

    for _ in range(2):
        weight.w.grad = torch.ones(1)
        optimizer.step()

    assert weight.w.item() == pytest.approx(-0.1 * (1 + 1.9))
    assert recipe.described() == dataclasses.asdict(recipe)
    usual = dataclasses.replace(recipe, nesterov=True)
    assert usual.described() == {k: v for k, v in dataclasses.asdict(usual).items() if k != "nesterov"}


def rates(recipe: Recipe, steps_per_epoch: int) -> list[float]:
    optimizer = make_optimizer(nn.Linear(1, 1), recipe)
    schedule = make_schedule(optimizer, recipe, steps_per_epoch)
    found = []
    for _ in range(recipe.epochs * steps_per_epoch):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_one_cycle_rises_for_a_fifth_and_falls_to_nearly_nothing() -> None:
    found = rates(Recipe(epochs=5, learning_rate=0.4), steps_per_epoch=10)

    assert found[:10] == pytest.approx([0.04 * (step + 1) for step in range(10)])
    assert found[10:] == pytest.approx([0.4 * (40 - step) / 40 for step in range(40)])
    assert max(found) == pytest.approx(0.4)


def test_multi_step_divides_by_ten_at_the_milestones() -> None:
    found = rates(Recipe(epochs=8, learning_rate=1.0, schedule="multi_step"), steps_per_epoch=5)

    assert found == pytest.approx([1.0] * 20 + [0.1] * 10 + [0.01] * 10)


@pytest.mark.parametrize("schedule", ["one_cycle", "multi_step"])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 2), (2, 1), (3, 1)])
def test_the_shortest_trainings_still_learn(schedule: Any, epochs: int, steps: int) -> None:
    found = rates(Recipe(epochs=epochs, learning_rate=0.1, schedule=schedule), steps)

    assert found[0] > 0.009
    assert all(0 < rate <= 0.1 + 1e-9 for rate in found)
