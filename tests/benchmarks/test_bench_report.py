"""Reports over many cells: 2,000 of them with 10,000 predictions each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.record_samples import plan_cell

from harness.records.database import Records
from harness.records.schema import Details, PlannedCell
from reports import build
from reports.collect.collection import collect

DEFENSES = ("vanilla", "blur", "tv_layer", "pni", "virolbi_fixed", "virolbi_iterative")
NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "fog", "contrast")
Note = Callable[..., None]
SIZES = {"small": (400, 50), "full": (2000, 10_000)}


def conditions() -> Iterator[dict[str, Any]]:
    """What one network is scored under, as a run shows it."""
    yield {"suite": "clean", "condition": "clean"}
    for noise, severity in itertools.product(NOISES, range(1, 6)):
        yield {"suite": "corruption", "condition": noise, "severity": severity, "source": "generated"}
    for scale in (2, 4):
        yield {"suite": "low_resolution", "condition": f"scale=1/{scale}"}
    for part, radius in itertools.product(("low", "high"), (4, 6, 8, 12, 16)):
        yield {"suite": "frequency", "condition": f"{part} r={radius}"}
    for attack, radius, threat in itertools.product(("fgsm", "pgd"), (8, 16), ("bare", "adaptive", "transfer")):
        ball = {"norm": "Linf", "epsilon": radius / 255, "epsilon_space": "pixel", "attack": attack}
        yield {"suite": "adversarial", "condition": f"{attack} eps={radius}/255", "threat": threat, **ball}


def synthetic_cells() -> Iterator[PlannedCell]:
    """The cells of ever more seeds, all defenses and preprocessings in each."""
    for seed in itertools.count():
        for defense, shown, preprocess in itertools.product(DEFENSES, list(conditions()), ("none", "virolbi")):
            network = {"dataset": "cifar10", "family": "cifar10", "backbone": "resnet18", "defense": defense}
            more = {"seed": seed, "preprocess": preprocess, "preset": "paper", "epochs": 160, "train_images": 50_000}
            every = {"weights": f"{defense}{seed}", "data": "d"}
            about = {**network, **more, **every, **shown}
            yield plan_cell(about, **about)


def record(folder: Path, cells: int, images: int) -> None:
    """A run of so many cells, its outcomes drawn at random."""
    random = np.random.default_rng(0)
    labels, indices = random.integers(0, 10, images), np.arange(images)
    trained = {"recipe": {"epochs": 160}, "classes": [f"class {number}" for number in range(10)]}
    with Records.open(folder, write=True) as records:
        for cell in itertools.islice(synthetic_cells(), cells):
            wrong = random.random(images) < random.uniform(0.1, 0.7)
            predictions = np.where(wrong, random.integers(0, 10, images), labels)
            about = {"defense": cell.description.defense, "seed": cell.description.seed, **trained}
            given = {"environment": {"device": "a CPU"}, "seconds": 1.0, "details": Details(trained=about)}
            records.add(cell, predictions, labels, indices, **given)


@pytest.fixture(scope="session")
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as large as is to be reported in 20 s; a small one where nothing is timed."""
    size = "full" if request.config.getoption("--benchmark-enable") else "small"
    folder = tmp_path_factory.mktemp("report") / "run"
    record(folder, *SIZES[size])
    return folder


def test_collecting(recorded: Path, benchmark: Any, note: Note) -> None:
    note("cells of 10,000 images to a collection", "ours", len(list(collect([recorded]).cells)))

    assert benchmark(collect, [recorded]).runs == ("run",)


def test_tables(recorded: Path, benchmark: Any, note: Note) -> None:
    cells = collect([recorded]).cells
    note("cells of 10,000 images to all tables", "ours", len(list(cells)))

    made = benchmark.pedantic(build, [cells], rounds=2, warmup_rounds=1)

    assert {"summary", "table1", "table2"} <= {table.name for table in made}
