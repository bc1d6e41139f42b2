"""A model whose logits of an image depend on the rest of its batch is refused, and no other."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.errors import UserError
from harness.models.batch_mates import check_batch_mates

IMAGES = torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(0))


class Work(nn.Module):
    """What a test chooses, as a layer."""

    def __init__(self, work) -> None:
        super().__init__()
        self.work = work

    def forward(self, x):
        return self.work(x)


def network(*layers: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 6, 3), *layers, nn.Flatten(), nn.Linear(6 * 36, 5)).eval()


class AlwaysTraining(nn.BatchNorm2d):
    """Batch norm that stays in training mode."""

    def train(self, mode: bool = True):
        return super().train(True)


DEPENDENT = {
    "no running statistics": (nn.BatchNorm2d(6, track_running_stats=False), r"layer 1 \(BatchNorm2d\)"),
    "in training mode": (Work(lambda x: functional.batch_norm(x, None, None, training=True)), r"layer 1 \(Work\)"),
    "the batch's mean": (Work(lambda x: x - 0.05 * x.mean(0)), r"layer 1 \(Work\)"),
    "the batch's largest": (Work(lambda x: x / x.abs().max()), r"layer 1 \(Work\)"),
    "softmax along the batch": (Work(lambda x: x.softmax(0)), r"layer 1 \(Work\)"),
    "the image before": (Work(lambda x: x + 0.1 * x.roll(1, 0)), r"layer 1 \(Work\)"),
    "nested": (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(6, track_running_stats=False)), r"layer 1\.1 \(BatchNorm2d\)"),
}
INDEPENDENT = {
    "batch norm": nn.BatchNorm2d(6),
    "instance norm": nn.InstanceNorm2d(6),
    "group norm": nn.GroupNorm(2, 6),
    "dropout": nn.Dropout(),
    "half precision inside": Work(lambda x: x.bfloat16().float()),
    "rounded": Work(lambda x: (x * 64).round() / 64),
    "badly conditioned": Work(lambda x: (x + 1e5) - 1e5),
    "tiny": Work(lambda x: 1e-12 * x),
    "large": Work(lambda x: 1e12 * x),
}


@pytest.mark.parametrize(("layer", "named"), DEPENDENT.values(), ids=DEPENDENT.keys())
def test_batch_mates_that_matter_are_refused_and_the_layer_is_named(layer, named):
    with pytest.raises(UserError, match=f"mine: .* depend on the other images in its batch, from its {named} on"):
        check_batch_mates("mine", network(layer), IMAGES, 32)


def test_a_layer_that_stays_in_training_mode_is_named():
    model = network(AlwaysTraining(6))
    with pytest.raises(UserError, match=r"from its layer 1 \(AlwaysTraining\) on"):
        check_batch_mates("mine", model.eval(), IMAGES, 32)


@pytest.mark.parametrize("layer", INDEPENDENT.values(), ids=INDEPENDENT.keys())
def test_a_model_that_treats_each_image_by_itself_passes(layer):
    check_batch_mates("mine", network(layer), IMAGES, 32)


def test_what_no_layer_shows_is_refused_all_the_same():
    class Outside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, x):
            logits = self.network(x)
            return logits - logits.mean(0)

    with pytest.raises(UserError, match="other images in its batch; every accuracy"):
        check_batch_mates("mine", Outside(), IMAGES, 32)


def test_one_image_is_enough():
    with pytest.raises(UserError, match="BatchNorm2d"):
        check_batch_mates("mine", network(nn.BatchNorm2d(6, track_running_stats=False)), IMAGES[:1], 32)


def test_a_dependence_that_begins_at_large_batches_is_found() -> None:
    class Crowded(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            values = images.flatten(1)[:, :10]
            return values - values.mean(0) if len(images) > 16 else values

    with pytest.raises(UserError, match="depend on the other images in its batch"):
        check_batch_mates("mine", Crowded(), IMAGES, 64)
    check_batch_mates("mine", Crowded(), IMAGES, 16)
