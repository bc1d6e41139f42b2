"""A last batch of one image, which batch norm cannot normalise where its layer has one value a channel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from harness.contracts.model import NormalizedModel
from harness.registry import defenses
from harness.training.loop import takes_one_image, train
from harness.types import Batch, Recipe, TrainingState

from .test_training import Plain, job, model, same, split, trained


class Noting(Plain):
    """Plain training that notes the size of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.seen: list[int] = []

    def loss(self, model: nn.Module, batch: Batch, state: TrainingState) -> torch.Tensor:
        self.sizes.append(len(batch.labels))
        self.seen += batch.indices.tolist()
        return super().loss(model, batch, state)


def narrow() -> nn.Module:
    """A network whose last batch norm sees one value a channel."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3)]
        return NormalizedModel(nn.Sequential(*layers), (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize("count", range(2, 14))
def test_any_number_of_images_trains_and_each_is_seen_once(count: int, tmp_path: Path) -> None:
    defense = Noting()
    train(narrow(), job(tmp_path, defense, split=split(count), recipe=Recipe(epochs=1, batch_size=4)))

    rest = count % 4
    usual = [4] * (count // 4) + ([rest] if rest else [])
    assert defense.sizes == (usual if rest != 1 else [*usual[:-2], 5])
    assert sorted(defense.seen) == list(range(count))


def test_a_network_that_takes_one_image_keeps_its_batches_and_its_weights(tmp_path: Path) -> None:
    defense = Noting()
    this = job(tmp_path, defense, split=split(33), recipe=Recipe(epochs=2, batch_size=16))

    assert takes_one_image(model(), this)
    trained(this)
    assert defense.sizes == [16, 16, 1] * 2


def test_the_question_leaves_weights_and_random_numbers_alone(tmp_path: Path) -> None:
    for network in (model(), narrow()):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        random = torch.random.get_rng_state()
        assert takes_one_image(network, job(tmp_path)) is isinstance(network.network[1], nn.BatchNorm2d)
        assert same(network.state_dict(), before)
        assert torch.equal(torch.random.get_rng_state(), random)


def test_the_schedule_counts_the_batches_there_are(tmp_path: Path) -> None:
    rates: list[float] = []

    class Rates(type(job(tmp_path).observer)):
        def batch(self, loss: torch.Tensor, rate: float) -> None:
            rates.append(rate)

    recipe = Recipe(epochs=2, batch_size=16, schedule="multi_step", milestones=(0.5,))
    train(narrow(), job(tmp_path, Plain(), split=split(33), recipe=recipe, observer=Rates()))

    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("name", ["adversarial_training:steps=1", "awp:steps=1", "sat:steps=1", "pni", "tv_layer"])
def test_every_training_defense_does(name: str, tmp_path: Path) -> None:
    defense = defenses.create(name)
    protected = defense.protect(narrow())

    train(protected, job(tmp_path, defense, split=split(9), recipe=Recipe(epochs=2, batch_size=4)))

    assert all(value.isfinite().all() for value in protected.state_dict().values())
