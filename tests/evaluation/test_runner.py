"""The runner: what a cell is known by, who shares what, and that a failure stays with its own cells."""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.runs import defended_models
from torch import nn

from harness import registry
from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.contracts.defense import Defense, Preprocessor
from harness.errors import HarnessError, UserError
from harness.evaluation import runner
from harness.evaluation.runner import Outcome, predict, run
from harness.records.database import FILE_NAME, Records
from harness.registry import Registry

Run = Callable[..., Outcome]
Register = Callable[[Registry, str, Callable[..., object]], None]


@pytest.fixture
def small(tmp_path: Path) -> RunConfig:
    """Vanilla on eight images of `shapes`, trained for one epoch on 64."""
    return RunConfig(
        defenses=("vanilla",), suites=("clean",), epochs=1, train_limit=64, limit=8, device="cpu", out=tmp_path / "out"
    )


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "cache")


def frame(folder: Path):
    with Records.open(folder) as records:
        return records.frame()


def predictions(folder: Path) -> dict[str, bytes]:
    with sqlite3.connect(folder / FILE_NAME) as connection:
        return dict(connection.execute("SELECT identity, predictions FROM cells WHERE status='done'"))


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (1,)},
        {"epochs": 2},
        {"train_limit": 65},
        {"limit": 7},
        {"batch_size": 16},
        {"dataset": "shapes:seed=1"},
        {"backbone": "resnet_mid"},
        {"amp": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_numbers_makes_other_cells(small: RunConfig, cache: ArrayCache, change: dict) -> None:
    run(small, cache)
    outcome = run(dataclasses.replace(small, **change), cache)
    assert outcome == Outcome(evaluated=2, skipped=0, failed=0)


@pytest.mark.parametrize("change", [{"level": 0.5}, {"nu": 2.0}], ids=["level", "nu"])
def test_another_preprocessing_leaves_the_raw_cell_as_it_is(small: RunConfig, cache: ArrayCache, change: dict) -> None:
    run(small, cache)
    assert run(dataclasses.replace(small, **change), cache) == Outcome(evaluated=1, skipped=1, failed=0)


def test_place_and_order_do_not_matter_to_what_a_cell_is_known_by(
    small: RunConfig, cache: ArrayCache, tmp_path: Path
) -> None:
    run(dataclasses.replace(small, defenses=("vanilla", "blur")), cache)
    run(dataclasses.replace(small, defenses=("blur", "vanilla"), out=tmp_path / "other"), cache)
    assert predictions(small.out) == predictions(tmp_path / "other")


def test_an_edited_plugin_is_computed_anew(small: RunConfig, cache: ArrayCache, tmp_path: Path) -> None:
    text = (
        "from harness.contracts.defense import Defense\nfrom harness.registry import defenses\n"
        "@defenses.register('edited')\nclass Edited(Defense):\n    'A plugin.'\n"
    )
    chosen = dataclasses.replace(small, defenses=("edited",))
    counts = []
    for number, version in enumerate((text, text, text + "# changed\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "plugin.py").write_text(version)
        with registry.defenses.restored():
            registry.load_plugin(folder / "plugin.py")
            counts.append(run(chosen, cache))
    assert [outcome.evaluated for outcome in counts] == [2, 0, 2]


def test_normalisation_is_part_of_the_weights(
    small: RunConfig, cache: ArrayCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (usual,) = defended_models(small, cache)
    monkeypatch.setattr("datasets.shapes.Shapes.std", (0.1, 0.1, 0.1))
    (other,) = defended_models(dataclasses.replace(small, out=small.out / "again"), cache)
    assert other.digest != usual.digest


def test_blocks_of_images_give_what_one_block_gives(
    small: RunConfig, cache: ArrayCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = dataclasses.replace(
        small, suites=("clean", "corruption:severities=3", "adversarial:gradients=bpda"), attacks=("pgd:steps=5",)
    )
    run(chosen, cache)
    monkeypatch.setattr(runner, "BLOCK_BYTES", 3 * 4 * 3 * 32 * 32)
    run(dataclasses.replace(chosen, out=tmp_path / "blocks"), cache)
    assert predictions(chosen.out) == predictions(tmp_path / "blocks")


def test_a_stochastic_defense_gives_the_same_predictions_again(
    small: RunConfig, cache: ArrayCache, tmp_path: Path
) -> None:
    chosen = dataclasses.replace(small, defenses=("pni",), suites=("clean", "adversarial:attacks=fgsm,draws=2"))
    assert run(chosen, cache).failed == 0
    run(dataclasses.replace(chosen, out=tmp_path / "again"), cache)
    assert predictions(chosen.out) == predictions(tmp_path / "again")
    assert set(frame(chosen.out).query("attack == 'fgsm'").draws) == {2}


def test_several_seeds_are_several_models_on_the_same_corrupted_images(small: RunConfig, cache: ArrayCache) -> None:
    run(dataclasses.replace(small, seeds=(0, 1), suites=("corruption:severities=5",)), cache)
    cells = frame(small.out)
    assert set(cells.seed) == {0, 1}
    assert cells.groupby("seed").weights.nunique().eq(1).all()
    assert cells.weights.nunique() == 2
    with sqlite3.connect(small.out / FILE_NAME) as connection:
        specs = [json.loads(text) for (text,) in connection.execute("SELECT spec FROM cells")]
    assert {spec["parameters"]["noise_seed"] for spec in specs} == {0}


def test_what_was_used_last_comes_last(small: RunConfig, cache: ArrayCache) -> None:
    longer = dataclasses.replace(small, epochs=2)
    run(small, cache)
    run(longer, cache)
    assert frame(small.out).epochs.tolist() == [1, 1, 2, 2]
    run(small, cache)
    assert frame(small.out).epochs.tolist() == [2, 2, 1, 1]


class Typo(nn.Module):
    """A model that breaks at evaluation, in a way nobody expects, at a size of batch that it is not tried with."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.no_such_thing() if len(images) == 12 and not self.training else self.model(images)


class BrokenModel(Defense):
    """Breaks at evaluation."""

    def protect(self, model: nn.Module) -> nn.Module:
        return Typo(model)


class BrokenTraining(Defense):
    """Breaks in training."""

    def loss(self, model: nn.Module, batch: object, state: object) -> torch.Tensor:
        raise TypeError("no such loss")


class BrokenPreprocessor(Preprocessor):
    """Breaks at once."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise UserError("I want other images")


class Preprocessed(Defense):
    """Uses the broken preprocessor."""

    def preprocess(self, default: str) -> str:
        return "broken"


def failures(folder: Path) -> list[tuple[str, str, str]]:
    with Records.open(folder) as records:
        return [
            (failed.description.defense, failed.description.condition, failed.reason) for failed in records.failures()
        ]


def test_a_model_that_breaks_fails_its_own_cells_only(small: RunConfig, cache: ArrayCache, register: Register) -> None:
    register(registry.defenses, "broken", BrokenModel)
    outcome = run(dataclasses.replace(small, defenses=("broken", "vanilla"), limit=12), cache)
    assert outcome == Outcome(evaluated=2, skipped=0, failed=2)
    assert set(frame(small.out).defense) == {"vanilla"}
    assert {(defense, condition) for defense, condition, _ in failures(small.out)} == {("broken", "clean")}


def test_a_preprocessor_that_breaks_fails_the_cells_behind_it_only(
    small: RunConfig, cache: ArrayCache, register: Register
) -> None:
    register(registry.preprocessors, "broken", BrokenPreprocessor)
    register(registry.defenses, "shown", Preprocessed)
    outcome = run(dataclasses.replace(small, defenses=("shown", "vanilla")), cache)
    assert outcome == Outcome(evaluated=3, skipped=0, failed=1)
    assert failures(small.out) == [("shown", "clean", "I want other images")]


def test_a_training_that_breaks_is_recorded_and_the_others_go_on(
    small: RunConfig, cache: ArrayCache, register: Register
) -> None:
    register(registry.defenses, "broken", BrokenTraining)
    outcome = run(dataclasses.replace(small, defenses=("broken", "vanilla")), cache)
    assert outcome == Outcome(evaluated=2, skipped=0, failed=1)
    (failure,) = failures(small.out)
    assert failure[:2] == ("broken", "training")
    assert re.fullmatch(r"TypeError: no such loss \(test_runner\.py:\d+\)", failure[2])


def test_a_failure_made_good_is_forgotten(
    small: RunConfig, cache: ArrayCache, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(registry.defenses, "broken", BrokenTraining)
    chosen = dataclasses.replace(small, defenses=("broken",))
    run(chosen, cache)
    monkeypatch.setattr(BrokenTraining, "loss", Defense.loss)
    assert run(chosen, cache) == Outcome(evaluated=2, skipped=0, failed=0)
    assert failures(small.out) == []


def test_parameters_are_refused_before_anything_is_trained(small: RunConfig, cache: ArrayCache) -> None:
    with pytest.raises(UserError, match="level"):
        run(dataclasses.replace(small, defenses=("vanilla", "virolbi_fixed:level=1.5")), cache)
    assert not (small.out / "checkpoints").exists()


def trained(small: RunConfig, cache: ArrayCache, **change: object) -> Path:
    return defended_models(dataclasses.replace(small, **change), cache)[0].path


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"epochs": 2, "keep_epochs": (1, 3)}, "3 is beyond the 2 epochs trained (vanilla)"),
        ({"epochs": None, "keep_epochs": (99,)}, "99 is beyond the 12 epochs trained (vanilla)"),
        (
            {"epochs": None, "keep_epochs": (160,), "preset": "paper", "defenses": ("vanilla", "sat")},
            "160 is beyond the 100 epochs trained (sat)",
        ),
    ],
)
def test_epochs_to_keep_that_are_never_trained_are_refused(
    small: RunConfig, cache: ArrayCache, change: dict, expected: str
) -> None:
    with pytest.raises(UserError, match=re.escape(f"--keep-epochs: {expected}")):
        run(dataclasses.replace(small, **change), cache)


def test_a_checkpoint_keeps_its_own_preset_and_epochs(small: RunConfig, cache: ArrayCache, tmp_path: Path) -> None:
    path = trained(small, cache)
    run(dataclasses.replace(small, preset="paper", epochs=None, checkpoint=path, out=tmp_path / "scored"), cache)
    cells = frame(tmp_path / "scored")
    assert set(cells.preset) == {"quick"}
    assert set(cells.epochs) == {1}
    assert cells.altered.all()


def test_a_checkpoint_of_another_seed_is_refused(small: RunConfig, cache: ArrayCache) -> None:
    path = trained(small, cache)
    with pytest.raises(UserError, match="is for seed 0, this run is for 1"):
        run(dataclasses.replace(small, checkpoint=path, seeds=(1,)), cache)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defenses": ("blur",)}, "is for defense vanilla, this run is for blur"),
        ({"backbone": "resnet_mid"}, "is for backbone resnet_small, this run is for resnet_mid"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    small: RunConfig, cache: ArrayCache, change: dict, message: str
) -> None:
    path = trained(small, cache)
    with pytest.raises(UserError, match=message):
        run(dataclasses.replace(small, checkpoint=path, **change), cache)


def test_a_checkpoint_kept_on_the_way_is_named_so(small: RunConfig, cache: ArrayCache, tmp_path: Path) -> None:
    chosen = dataclasses.replace(small, defenses=("virolbi_iterative",), epochs=2)
    path = defended_models(chosen, cache)[0].path
    kept = sorted(path.parent.glob(f"{path.stem}.level=*.pt"))
    assert kept
    run(dataclasses.replace(chosen, checkpoint=kept[0], out=tmp_path / "scored"), cache)
    level = kept[0].stem.rpartition(".level=")[2]
    assert set(frame(tmp_path / "scored").defense) == {f"virolbi_iterative@level={level}"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(2, 3), r"logits of shape \(2, 4\), got \(2, 3\)"),
        (torch.full((2, 4), float("nan")), "returned NaN"),
        (torch.full((2, 4), float("inf")), "returned NaN or infinity"),
    ],
)
def test_nonsense_from_a_model_is_refused(answer: torch.Tensor, message: str) -> None:
    model = nn.Module()
    model.forward = lambda images: answer
    with pytest.raises(HarnessError, match=message):
        predict(model, torch.zeros(2, 3, 4, 4), classes=4)


def test_predictions_do_not_depend_on_the_batch(small: RunConfig, cache: ArrayCache) -> None:
    """In float64: in float32 libraries sum up in another order for another batch, and two classes may be that close."""
    model = defended_models(small, cache)[0].model.double()
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = predict(model, images, 10, batch_size=7)
    assert np.array_equal(whole, predict(model, images, 10, batch_size=2))


def test_images_mapped_from_disk_are_scored_without_a_warning(
    small: RunConfig, cache: ArrayCache, tmp_path: Path
) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        folder = tmp_path / "pictures" / ("train", "val")[number % 2] / ("cat", "dog")[number // 2 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    chosen = dataclasses.replace(small, dataset=f"imagefolder:{tmp_path / 'pictures'},size=32,resize=32")
    assert run(chosen, cache) == Outcome(evaluated=2, skipped=0, failed=0)
