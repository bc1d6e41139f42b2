"""The training loop: what it comes to, resumption, and what it keeps."""

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

from harness.cache import ArrayCache
from harness.contracts.defense import Defense
from harness.contracts.model import NormalizedModel
from harness.errors import HarnessError
from harness.models import checkpoints
from harness.training.job import TrainingJob
from harness.training.loop import train
from harness.training.state import kept_path
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
        "metadata": {"defense": "plain", "recipe": dataclasses.asdict(recipe)},
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
    assert {name: found.metadata["epoch"] for name, found in kept.items()} == {
        "model.epoch=1.pt": 1,
        f"model.epoch={EPOCHS}.pt": EPOCHS,
    }
    assert same(kept[f"model.epoch={EPOCHS}.pt"].weights, weights)
    assert (tmp_path / "model.level=0.1.pt").is_file()


def test_what_is_trained_is_what_is_saved(tmp_path: Path) -> None:
    weights = trained(job(tmp_path))

    found = checkpoints.load(tmp_path / "model.pt")
    assert same(found.weights, weights)
    assert found.metadata["defense"] == "plain"


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
    assert (first.metadata["kept"], first.metadata["epoch"], first.metadata["defense"]) == ("level=0.1", 2, "plain")
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


@pytest.mark.parametrize("amp", [False, True])
def test_a_defense_gets_every_batch_again_after_its_step(tmp_path: Path, amp: bool) -> None:
    met: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    class Twice(Plain):
        def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
            met.append(("loss", batch.indices, next(model.parameters()).detach().clone()))
            return super().loss(model, batch, state)

        def after_step(self, model: nn.Module, batch: Batch, state: TrainingState) -> None:
            assert (model.training, torch.is_autocast_enabled("cpu")) == (True, amp)
            met.append(("step", batch.indices, next(model.parameters()).detach().clone()))

    train(model(), job(tmp_path, Twice(), amp=amp))

    assert [kind for kind, _, _ in met] == ["loss", "step"] * 3 * EPOCHS
    for (_, batch, before), (_, again, after) in zip(met[::2], met[1::2], strict=True):
        assert torch.equal(batch, again)
        assert not torch.equal(before, after)


def test_mixed_precision_trains_to_finite_weights(tmp_path: Path) -> None:
    weights = trained(job(tmp_path, amp=True))

    assert all(torch.isfinite(value).all() for value in weights.values())
    assert not same(weights, trained(job(tmp_path / "full")))
