"""What scoring costs beside a bare PyTorch loop on the same images, model and batch; `tox run -e bench`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.backbones import resnet_mid
from harness.models import NormalizedModel
from harness.runner import predict
from harness.suites.base import SuiteContext
from harness.suites.clean import Clean
from harness.types import Split

COUNT, BATCH = 2_000, 256


@pytest.fixture(scope="module")
def split() -> Split:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 32, 32), np.uint8)
    return Split(images=images, labels=np.zeros(COUNT, np.int64), indices=np.arange(COUNT), digest="d")


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    network = NormalizedModel(resnet_mid(classes=10, image_shape=(3, 32, 32)), (0.5,) * 3, (0.25,) * 3)
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)


@torch.no_grad()
def bare_loop(model: torch.nn.Module, split: Split) -> np.ndarray:
    images = torch.from_numpy(split.images)
    answers = [
        model(batch.to(memory_format=torch.channels_last).float().div_(255)).argmax(1) for batch in images.split(BATCH)
    ]
    return torch.cat(answers).numpy()


def harness_loop(model: torch.nn.Module, split: Split) -> np.ndarray:
    suite, context = Clean(), SuiteContext(dataset=None, split=split, seed=0)
    images = suite.disturb(np.arange(COUNT), suite.conditions(context)[0], context, None)
    return predict(model, images, 10, BATCH)


@pytest.mark.parametrize("loop", [bare_loop, harness_loop])
def test_scoring(benchmark: pytest.FixtureRequest, loop: object, model: torch.nn.Module, split: Split) -> None:
    benchmark.group = f"score {COUNT} CIFAR-sized images"
    predictions = benchmark.pedantic(loop, (model, split), rounds=5, warmup_rounds=1)
    assert np.array_equal(predictions, bare_loop(model, split))
