"""What scoring costs beside a bare PyTorch loop on the same images, model and batch; `tox run -e bench`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from support.record_samples import plan_cell

from harness.contracts.model import NormalizedModel
from harness.evaluation.runner import predict
from harness.models.backbones import resnet_mid
from harness.records.database import Records
from harness.suites.base import SuiteContext
from harness.suites.clean import Clean
from harness.types import Split

BATCH = 256


@pytest.fixture(scope="module")
def split(request: pytest.FixtureRequest) -> Split:
    """10,000 images where speed is measured, a few where it is only checked that the measurement runs."""
    count = 10_000 if request.config.getoption("--benchmark-enable") else 300
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), np.uint8)
    return Split(images=images, labels=np.zeros(count, np.int64), indices=np.arange(count), digest="d")


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


def harness_loop(model: torch.nn.Module, split: Split, folder: Path) -> np.ndarray:
    """What the runner does for a cell without preprocessing, its record included."""
    suite, context = Clean(), SuiteContext(dataset=None, split=split, seed=0)
    images = suite.perturb(np.arange(len(split)), suite.conditions(context)[0], context, None)
    predictions = predict(model, images, 10, BATCH)
    with Records.open(folder, write=True) as records:
        cell = plan_cell({"cell": len(records)})
        records.add(cell, predictions, split.labels, split.indices, environment={}, seconds=0.0)
    return predictions


@pytest.mark.parametrize("name", ["bare", "harness"])
def test_scoring(benchmark: BenchmarkFixture, name: str, model: torch.nn.Module, split: Split, tmp_path: Path) -> None:
    benchmark.group = f"score {len(split)} CIFAR-sized images"
    loop = {"bare": lambda: bare_loop(model, split), "harness": lambda: harness_loop(model, split, tmp_path)}[name]
    predictions = benchmark.pedantic(loop, rounds=5, warmup_rounds=1)
    assert np.array_equal(predictions, bare_loop(model, split))
