"""What TensorBoard is given: curves and images, each step once, and nothing that changes the training."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.errors import UserError
from harness.evaluation.observer import Observer
from harness.evaluation.obtain import obtain
from harness.evaluation.runner import run
from harness.evaluation.setup import resolve
from harness.evaluation.tensorboard import FOLDER, TensorBoard
from harness.models import checkpoints
from harness.training import loop as training

BATCH, IMAGES, EPOCHS = 32, 80, 3
STEPS = -(-IMAGES // BATCH)


@pytest.fixture
def small(tmp_path: Path) -> RunConfig:
    return RunConfig(
        defenses=("vanilla",),
        suites=("clean", "low_resolution"),
        epochs=EPOCHS,
        batch_size=BATCH,
        train_limit=IMAGES,
        limit=6,
        device="cpu",
        tensorboard=True,
        out=tmp_path / "run",
    )


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "cache")


def events(folder: Path) -> EventAccumulator:
    """What TensorBoard would show of a folder."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def only(config: RunConfig) -> Path:
    (folder,) = (config.out / FOLDER).iterdir()
    return folder


def steps(found: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in found.Scalars(tag)]


def values(found: EventAccumulator, tag: str) -> list[float]:
    return [event.value for event in found.Scalars(tag)]


def train(config: RunConfig, cache: ArrayCache, label: str = "vanilla") -> Path:
    setup = resolve(config, cache)
    path = obtain(setup.candidates[0], setup).path
    setup.observer.close()
    return path


def test_a_training_has_curves_by_batch_and_by_epoch(small: RunConfig, cache: ArrayCache) -> None:
    train(small, cache)

    found = events(only(small))

    assert steps(found, "train/loss") == list(range(1, EPOCHS * STEPS + 1))
    assert steps(found, "epoch/loss") == [STEPS, 2 * STEPS, 3 * STEPS]
    assert values(found, "epoch/number") == [1, 2, 3]
    losses = values(found, "train/loss")
    means = [sum(losses[first : first + STEPS]) / STEPS for first in range(0, len(losses), STEPS)]
    assert values(found, "epoch/loss") == pytest.approx(means, rel=1e-5)
    assert max(values(found, "train/learning_rate")) == pytest.approx(0.2, rel=0.5)
    assert all(0 <= value <= 1 for value in values(found, "epoch/accuracy"))
    assert all(value > 0 for value in values(found, "epoch/seconds"))


def test_losses_of_a_long_epoch_are_thinned_out(
    small: RunConfig, cache: ArrayCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.evaluation.tensorboard.POINTS", 2)
    train(small, cache)

    assert steps(events(only(small)), "train/loss") == [1, 3, 4, 6, 7, 9]


def test_observing_changes_no_weight(small: RunConfig, cache: ArrayCache) -> None:
    watched = train(small, cache)
    alone = train(dataclasses.replace(small, tensorboard=False, out=small.out / "alone"), cache)

    first, second = (checkpoints.load(path).weights for path in (watched, alone))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (small.out / "alone" / FOLDER).exists()


@pytest.mark.parametrize("lost", ["before its state was saved", "after its state was saved"])
def test_an_interrupted_training_continues_without_steps_twice(
    small: RunConfig, cache: ArrayCache, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """The second epoch is lost, or its curves are; TensorBoard then shows each step at most once."""
    kept = Observer.epoch if lost.startswith("after") else None
    _interrupt(monkeypatch, epoch=1, after_saving=kept is not None)
    with pytest.raises(KeyboardInterrupt):
        train(small, cache)
    monkeypatch.undo()
    train(small, cache)

    found = events(only(small))
    expected = [STEPS, 2 * STEPS, 3 * STEPS] if kept is None else [STEPS, 3 * STEPS]
    assert steps(found, "epoch/loss") == expected
    assert len(set(steps(found, "train/loss"))) == len(found.Scalars("train/loss"))
    for tag in found.Tags()["images"]:
        assert len({event.step for event in found.Images(tag)}) == len(found.Images(tag))


def _interrupt(monkeypatch: pytest.MonkeyPatch, *, epoch: int, after_saving: bool) -> None:
    """Ctrl-C around the saving of an epoch."""
    save = training.save_epoch

    def interrupted(*arguments: Any) -> None:
        state = arguments[1]
        if state.epoch != epoch or after_saving:
            save(*arguments)
        if state.epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_epoch", interrupted)


def test_a_training_from_the_beginning_removes_all_that_an_older_one_wrote(small: RunConfig, cache: ArrayCache) -> None:
    train(small, cache).unlink()
    train(small, cache)

    found = events(only(small))
    assert steps(found, "epoch/loss") == [STEPS, 2 * STEPS, 3 * STEPS]
    assert len(found.Images("images/clean")) == 1


def test_the_level_of_iterative_training_is_a_curve(small: RunConfig, cache: ArrayCache) -> None:
    label = "virolbi_iterative:start=0.4,end=0.6,steps=3,scheme=fast"
    train(dataclasses.replace(small, defenses=(label,), train_limit=16), cache, label)

    found = events(only(small))
    assert values(found, "epoch/level") == pytest.approx([0.4, 0.5, 0.6])
    assert len({event.step for event in found.Images("images/trained_on")}) == 3


def test_scoring_shows_the_first_conditions_perturbed_and_preprocessed(small: RunConfig, cache: ArrayCache) -> None:
    run(small, cache)
    run(small, cache)

    (folder,) = (small.out / FOLDER).glob("*/scoring")
    tags = events(folder).Tags()["images"]
    assert "clean/clean/perturbed" in tags
    assert any(tag.startswith("clean/clean/virolbi") for tag in tags)
    assert len(events(folder).Images("clean/clean/perturbed")) == 1
    assert any(tag.startswith("low_resolution/") and "/virolbi" in tag for tag in tags)


def test_without_the_package_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith(("torch.utils.tensorboard", "tensorboard")):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match="needs the package tensorboard") as error:
        TensorBoard(tmp_path)
    assert "\n" not in str(error.value)


def test_nothing_is_observed_unless_asked_for(small: RunConfig, cache: ArrayCache) -> None:
    quiet: Sequence[Any] = [resolve(dataclasses.replace(small, tensorboard=False), cache).observer]
    assert [type(observer) for observer in quiet] == [Observer]
