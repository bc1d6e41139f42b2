"""The training loop: augmentation, schedules, resumption, and what it keeps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from defenses.base import Defense
from harness import checkpoints, training
from harness.cache import ArrayCache
from harness.errors import HarnessError
from harness.models import NormalizedModel
from harness.training import (
    ImageStore,
    TrainingJob,
    augment,
    batches,
    kept_path,
    make_optimizer,
    make_schedule,
    train,
)
from harness.types import Batch, Recipe, Split, TrainingState

CPU = torch.device("cpu")
EPOCHS = 4


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from more, and wait for them on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Plain(Defense):
    """Plain training that notes what it was given, and breaks where it is told to."""

    label = "plain"

    def __init__(self, *, breaks_in: int | None = None, nan_in: int | None = None) -> None:
        self.breaks_in, self.nan_in = breaks_in, nan_in
        self.epochs: list[int] = []
        self.draws: list[float] = []

    def reseed(self, model: nn.Module, seed: int) -> None:
        self.epochs.append(seed)

    def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
        self.draws.append(float(torch.rand((), generator=state.generator)))
        if state.epoch == self.breaks_in and len(self.draws) % 3 == 2:
            raise KeyboardInterrupt
        loss = super().loss(model, batch, state)
        return loss * math.nan if state.epoch == self.nan_in else loss

    def keep(self, *, epoch: int, epochs: int) -> str | None:
        return f"level=0.{epoch}" if epoch % 2 else None


def split(count: int = 40, *, read_only: bool = False) -> Split:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8), rng.integers(0, 3, count)
    for array in (images, labels):
        array.flags.writeable = not read_only
    return Split(images=images, labels=labels, indices=np.arange(count), digest="d")


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)]
        return NormalizedModel(nn.Sequential(*layers), (0.5,) * 3, (0.25,) * 3)


def job(folder: Path, defense: Defense | None = None, **changes: Any) -> TrainingJob:
    recipe = changes.pop("recipe", Recipe(epochs=EPOCHS, batch_size=16, learning_rate=0.05))
    given = {
        "split": split(),
        "seed": 1,
        "about": {"defense": "plain", "recipe": dataclasses.asdict(recipe)},
        "cache": ArrayCache(folder / "cache"),
        "device": CPU,
        **changes,
    }
    return TrainingJob(defense=defense or Plain(), recipe=recipe, path=folder / "model.pt", **given)


def trained(this: TrainingJob) -> dict[str, torch.Tensor]:
    network = model()
    train(network, this)
    return network.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def interrupt(this: TrainingJob) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(this)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    this = job(tmp_path, recipe=Recipe(epochs=12, batch_size=16, learning_rate=0.05, augment=False))
    network = model()
    images, labels = torch.from_numpy(this.split.images).float() / 255, torch.from_numpy(this.split.labels)
    before = nn.functional.cross_entropy(network.eval()(images), labels).item()

    train(network, this)

    assert nn.functional.cross_entropy(network.eval()(images), labels).item() < before / 4


def test_epochs_asked_for_are_kept_beside_what_the_defense_keeps(tmp_path: Path) -> None:
    weights = trained(job(tmp_path, keep_epochs=(1, EPOCHS)))

    kept = {path.name: checkpoints.load(path) for path in tmp_path.glob("model.epoch=*.pt")}
    assert {name: found.about["epoch"] for name, found in kept.items()} == {
        "model.epoch=1.pt": 1,
        f"model.epoch={EPOCHS}.pt": EPOCHS,
    }
    assert same(kept[f"model.epoch={EPOCHS}.pt"].weights, weights)
    assert (tmp_path / "model.level=0.1.pt").is_file()


def test_what_is_trained_is_what_is_saved(tmp_path: Path) -> None:
    weights = trained(job(tmp_path))

    found = checkpoints.load(tmp_path / "model.pt")
    assert same(found.weights, weights)
    assert found.about["defense"] == "plain"


def test_training_again_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    weights = trained(job(tmp_path / "a"))

    assert same(trained(job(tmp_path / "b")), weights)
    assert not same(trained(job(tmp_path / "c", seed=2)), weights)


def test_every_epoch_has_its_own_random_numbers(tmp_path: Path) -> None:
    defense = Plain()

    train(model(), job(tmp_path, defense))

    assert len(set(defense.epochs)) == EPOCHS
    assert len(set(defense.draws)) == EPOCHS * 3


def test_training_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()

    train(model(), job(tmp_path))

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("schedule", ["one_cycle", "multi_step"])
@pytest.mark.parametrize("breaks_in", range(EPOCHS))
def test_an_interrupted_training_ends_with_the_very_same_weights(tmp_path: Path, breaks_in: int, schedule: Any) -> None:
    recipe = Recipe(epochs=EPOCHS, batch_size=16, learning_rate=0.05, schedule=schedule)
    whole, rest = Plain(), Plain()
    expected = trained(job(tmp_path / "whole", whole, recipe=recipe))

    interrupt(job(tmp_path, Plain(breaks_in=breaks_in), recipe=recipe))
    found = trained(job(tmp_path, rest, recipe=recipe))

    assert same(found, expected)
    assert rest.epochs == whole.epochs[breaks_in:]
    assert rest.draws == whole.draws[3 * breaks_in :]


def test_a_training_may_be_interrupted_many_times(tmp_path: Path) -> None:
    expected = trained(job(tmp_path / "whole"))

    for epoch in range(1, EPOCHS):
        interrupt(job(tmp_path, Plain(breaks_in=epoch)))

    assert same(trained(job(tmp_path)), expected)


def test_a_finished_training_leaves_no_state_behind(tmp_path: Path) -> None:
    interrupt(job(tmp_path, Plain(breaks_in=2)))
    assert (tmp_path / "model.state").is_file()
    assert not (tmp_path / "model.pt").exists()

    trained(job(tmp_path))

    assert not (tmp_path / "model.state").exists()


def test_the_state_of_another_training_is_not_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Recipe(epochs=EPOCHS, batch_size=16, learning_rate=0.5)
    interrupt(job(tmp_path, Plain(breaks_in=2), recipe=other))
    rest = Plain()

    found = trained(job(tmp_path, rest))

    assert len(rest.epochs) == EPOCHS
    assert same(found, trained(job(tmp_path / "fresh")))
    assert "starts again" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["text", "truncated", "no optimizer", "other optimizer", "no schedule"])
def test_a_damaged_state_means_starting_again_from_the_first_weights(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(job(tmp_path, Plain(breaks_in=2)))
    state = tmp_path / "model.state"
    if damage == "text":
        state.write_text("no state")
    elif damage == "truncated":
        state.write_bytes(state.read_bytes()[:-100])
    else:
        content = checkpoints.read(state)
        kind, part = damage.split()
        content.pop(part) if kind == "no" else content[part].update(param_groups=[])
        torch.save(content, state)
    rest = Plain()

    found = trained(job(tmp_path, rest))

    assert len(rest.epochs) == EPOCHS
    assert same(found, trained(job(tmp_path / "fresh")))
    assert "starts again" in capsys.readouterr().err


def test_a_diverged_training_says_when(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"training plain diverged in epoch 3: the loss is nan"):
        trained(job(tmp_path, Plain(nan_in=2)))
    assert not (tmp_path / "model.pt").exists()


def test_checkpoints_of_an_epoch_are_kept_under_their_tag(tmp_path: Path) -> None:
    weights = trained(job(tmp_path))

    assert kept_path(tmp_path / "model.pt", "level=0.3").name == "model.level=0.3.pt"
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == [
        "model.level=0.1.pt",
        "model.level=0.3.pt",
        "model.pt",
    ]
    first, last = (checkpoints.load(kept_path(tmp_path / "model.pt", f"level=0.{epoch}")) for epoch in (1, 3))
    assert (first.about["kept"], first.about["epoch"], first.about["defense"]) == ("level=0.1", 2, "plain")
    assert same(last.weights, weights)
    assert not same(first.weights, weights)


def test_a_tag_does_not_swallow_dots_of_the_name() -> None:
    assert kept_path(Path("out/x-level=0.5-seed0.pt"), "level=0.6").name == "x-level=0.5-seed0.level=0.6.pt"


def test_an_epochs_images_are_those_of_the_defense(tmp_path: Path) -> None:
    seen: list[float] = []

    class Gray(Plain):
        def training_images(self, split: Split, *, epoch: int, epochs: int, cache: ArrayCache) -> np.ndarray:
            return np.full_like(split.images, 51 * (epoch + 1))

        def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
            seen.extend(batch.images.unique().tolist())
            return super().loss(model, batch, state)

    train(model(), job(tmp_path, Gray()))

    assert sorted(set(seen)) == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_mixed_precision_trains_to_finite_weights(tmp_path: Path) -> None:
    weights = trained(job(tmp_path, amp=True))

    assert all(torch.isfinite(value).all() for value in weights.values())
    assert not same(weights, trained(job(tmp_path / "full")))


def epoch_of(images: np.ndarray, labels: np.ndarray, **changes: Any) -> list[Batch]:
    recipe = Recipe(epochs=1, batch_size=16, **{"augment": False, **changes})
    state = TrainingState(0, 1, torch.Generator().manual_seed(0))
    return list(batches(ImageStore(CPU).source(images), labels, recipe, state, CPU))


def test_an_epoch_shows_every_image_once_with_its_label() -> None:
    this = split()
    found = epoch_of(this.images, this.labels)
    order = torch.cat([batch.indices for batch in found]).numpy()

    assert [len(batch.labels) for batch in found] == [16, 16, 8]
    assert sorted(order) == list(range(40))
    assert list(order) != list(range(40))
    np.testing.assert_array_equal(torch.cat([batch.labels for batch in found]), this.labels[order])
    np.testing.assert_allclose(torch.cat([batch.images for batch in found]) * 255, this.images[order], atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"augment": True}])
def test_images_too_many_for_the_device_come_as_the_same_batches(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, bool]
) -> None:
    this = split()
    held = epoch_of(this.images, this.labels, **changes)
    monkeypatch.setattr(training, "_room", lambda device: 0)

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
    monkeypatch.setattr(training, "_room", lambda device: room)

    for batch in epoch_of(this.images, this.labels, augment=True):
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
