"""What attacks cost beside a bare loop of as many forward and backward passes; `tox run -e bench`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from defenses.virolbi import ViRoLBI
from harness.attacks.base import Budget
from harness.attacks.gradient import PGD
from harness.contracts.model import NormalizedModel, Pipeline
from harness.models.backbones import resnet_mid

STEPS = 20


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    network = NormalizedModel(resnet_mid(classes=10, image_shape=(3, 32, 32)), (0.5,) * 3, (0.25,) * 3)
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)


@pytest.fixture
def images(benchmark, cifar_images) -> torch.Tensor:
    return cifar_images(4 if benchmark.disabled else 100).float() / 255


def passes(model: torch.nn.Module, images: torch.Tensor, steps: int) -> torch.Tensor:
    """Nothing but the forward and backward passes of so many steps."""
    labels = torch.zeros(len(images), dtype=torch.int64)
    for _ in range(steps):
        point = images.requires_grad_()
        loss = functional.cross_entropy(model(point), labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, point)
        images = point.detach()
    return slope


def attack(model: torch.nn.Module, images: torch.Tensor, steps: int) -> torch.Tensor:
    budget = Budget.of(8 / 255, "pixel", torch.ones(3, 1, 1))
    labels = torch.zeros(len(images), dtype=torch.int64)
    return PGD(steps=steps)(model, images, labels, budget, seed=0, indices=np.arange(len(images)))


@pytest.mark.parametrize("whose", ["ours", "bare passes"])
def test_pgd_on_a_network(benchmark, note, model, images, whose):
    steps = 2 if benchmark.disabled else STEPS
    note(f"PGD-{STEPS} on a network", whose, len(images))
    torch.set_num_threads(2)

    found = benchmark.pedantic({"ours": attack, "bare passes": passes}[whose], args=(model, images, steps), rounds=3)

    assert found.shape == images.shape


@pytest.mark.parametrize("whose", ["ours", "bare passes", "smoothing"])
def test_adaptive_pgd_through_virolbi(benchmark, note, model, images, whose):
    """The bare passes and the smoothing by themselves add up to what an adaptive attack cannot do without."""
    steps = 2 if benchmark.disabled else STEPS
    note(f"adaptive PGD-{STEPS} through ViRoLBI", whose, len(images))
    torch.set_num_threads(2)
    smoothing = ViRoLBI()
    starts = attack(model, images, 1)

    def smooth_alone(_: object, given: torch.Tensor, count: int) -> torch.Tensor:
        with torch.no_grad():
            for _ in range(count):
                smoothed = smoothing(given).images
        return smoothed

    work = {"ours": attack, "bare passes": passes, "smoothing": smooth_alone}[whose]
    attacked = Pipeline(smoothing, model) if whose == "ours" else model

    found = benchmark.pedantic(work, args=(attacked, starts, steps), rounds=2)

    assert found.shape == images.shape
