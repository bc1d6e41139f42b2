"""Weights from elsewhere: what is assumed of their normalisation is said, set by an option, and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.runs import defended_models
from torch import nn

from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.contracts.dataset import Dataset, digest_of_arrays
from harness.contracts.model import UnnormalizedModel, inner_normalization
from harness.errors import UserError
from harness.evaluation.runner import run
from harness.evaluation.setup import resolve
from harness.models import checkpoints
from harness.models.checkpoints import weights_digest
from harness.models.defended import DefendedModel
from harness.records.database import Records
from harness.registry import backbones, datasets
from harness.types import Split
from reports.collect.cells import Cells
from reports.tables.engine.captions import provenance


class Greys(Dataset):
    """Three shades of grey; the mean and std are those of other images."""

    name = "greys"
    classes = ("dark", "mid", "bright")
    mean, std = (0.8, 0.8, 0.8), (0.1, 0.1, 0.1)

    def load(self, split: str) -> Split:
        labels = np.arange(60) % 3
        images = (np.array([60, 128, 196])[labels][:, None, None, None] + np.zeros((60, 3, 8, 8))).astype(np.uint8)
        return Split(images=images, labels=labels, indices=np.arange(60), digest=digest_of_arrays(images, labels))


class Shades(nn.Module):
    """Right where grey `dark` is -1, `bright` is +1 and what lies between is 0, after (x − mean) / std."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("centers", (torch.tensor([60.0, 128.0, 196.0]) / 255 - mean) / std)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -((images.mean((1, 2, 3))[:, None] - self.centers) ** 2)


@pytest.fixture
def foreign(tmp_path: Path, register: Callable) -> Callable[..., RunConfig]:
    """A run of weights that were trained with a mean and std."""
    register(datasets, "greys", Greys)
    register(backbones, "shades", lambda *, classes, image_shape: Shades(0.0, 1.0))

    def config(mean: float, std: float, **options: object) -> RunConfig:
        torch.save(Shades(mean, std).state_dict(), tmp_path / "foreign.pt")
        return RunConfig(
            **{
                "dataset": "greys",
                "backbone": "shades",
                "defenses": ("vanilla",),
                "suites": ("clean",),
                "checkpoint": tmp_path / "foreign.pt",
                "device": "cpu",
                "out": tmp_path / "out",
                **options,
            }
        )

    return config


def obtained(config: RunConfig, cache: ArrayCache) -> DefendedModel:
    (model,) = defended_models(config, cache)
    return model


def accuracy(model: DefendedModel) -> float:
    split = Greys().test()
    predicted = model.model(torch.from_numpy(split.images).float() / 255).argmax(1)
    return float((predicted.numpy() == split.labels).mean())


WRONG = [
    (0.0, 1.0, None, "none"),
    (0.5, 0.5, None, "0.5/0.5"),
    (0.5, 0.5, "none", "0.5/0.5"),
    (0.8, 0.1, "none", "0.8/0.1"),
    (0.0, 1.0, "0.5/0.5", "none"),
]


@pytest.mark.parametrize(("mean", "std", "given", "better"), WRONG)
def test_another_normalisation_that_suits_better_is_named_and_can_be_set(
    mean: float, std: float, given: str | None, better: str, foreign: Callable, cache: ArrayCache, capsys
) -> None:
    wrong = obtained(foreign(mean, std, normalization=given), cache)
    warned = capsys.readouterr().err
    right = obtained(foreign(mean, std, normalization=better), cache)
    said = capsys.readouterr().err

    assert f"with {better} 100 % of 60 test images are right, not {100 * accuracy(wrong):.0f} %" in warned
    assert f"--normalization {better}\n" in warned
    assert f"with {better} 100 %" in wrong.trained["normalization"]
    assert "warning" not in said
    assert accuracy(right) == 1
    assert wrong.digest != right.digest


def test_the_default_is_the_data_sets_and_said(foreign: Callable, cache: ArrayCache, capsys) -> None:
    model = obtained(foreign(0.8, 0.1), cache)

    assert accuracy(model) == 1
    assert model.trained["normalization"] == "mean (0.8, 0.8, 0.8), std (0.1, 0.1, 0.1), the data set's"
    assert "--normalization sets another" in capsys.readouterr().err


def test_captions_say_what_was_assumed(foreign: Callable, cache: ArrayCache) -> None:
    config = foreign(0.0, 1.0)
    run(config, cache)
    with Records.open(config.out) as records:
        cells = Cells(records.snapshot().records)

    (sentence,) = (text for text in provenance(cells, list(cells)) if "Normalisation" in text)
    assert "mean (0.8, 0.8, 0.8), std (0.1, 0.1, 0.1), the data set's; with none 100 % of 60" in sentence
    assert sentence.endswith("(vanilla).")


def test_without_normalisation_the_network_gets_the_images_and_epsilon_keeps_its_measure(
    foreign: Callable, cache: ArrayCache
) -> None:
    model = obtained(foreign(0.0, 1.0, normalization="none"), cache)
    inner = inner_normalization(model.model)

    assert isinstance(inner, UnnormalizedModel)
    assert inner.std.flatten().tolist() == pytest.approx([0.1] * 3)
    assert accuracy(model) == 1
    assert model.trained["normalization"] == "none, the network is given [0,1], as --normalization says"


def test_a_backbone_may_say_that_it_normalises_by_itself(foreign: Callable, cache: ArrayCache, register) -> None:
    def itself(*, classes: int, image_shape: tuple[int, ...]) -> nn.Module:
        network = Shades(0.0, 1.0)
        network.normalization = None
        return network

    register(backbones, "shades", itself)
    model = obtained(foreign(0.0, 1.0), cache)

    assert accuracy(model) == 1
    assert model.trained["normalization"] == "none, the network is given [0,1], as the backbone says"


def test_a_file_that_holds_its_normalisation_keeps_it(foreign: Callable, cache: ArrayCache, tmp_path: Path) -> None:
    config = foreign(0.0, 1.0)
    whole = obtained(dataclasses.replace(config, normalization="0.25/0.5"), cache).model
    torch.save(whole.state_dict(), tmp_path / "foreign.pt")

    model = obtained(config, cache)

    assert model.digest == weights_digest(whole)
    assert "normalization" not in model.trained
    with pytest.raises(UserError, match=r"bring mean \(0.25, 0.25, 0.25\), std \(0.5, .*Leave out --normalization"):
        obtained(dataclasses.replace(config, normalization="0.5/0.5"), cache)


@pytest.mark.parametrize(
    "text",
    ["", "0.5", "mean/std", "0.5/0.5/0.5", "0.5,0.5/0.5", "0.5/nan", "0.5/0", "127.5/127.5", "0.5/-1", "-0.1/0.5", "/"],
)
def test_other_texts_are_refused_before_anything_is_loaded(text: str, foreign: Callable, cache: ArrayCache) -> None:
    with pytest.raises(UserError, match=r"--normalization expects .*got '"):
        resolve(foreign(0.0, 1.0, normalization=text), cache)


def test_it_is_for_weights_from_elsewhere(foreign: Callable, cache: ArrayCache) -> None:
    config = foreign(0.0, 1.0, normalization="none")
    for checkpoint in (None, "robustbench:Standard"):
        with pytest.raises(UserError, match=r"Leave .*out"):
            resolve(dataclasses.replace(config, checkpoint=checkpoint), cache)


def test_a_checkpoint_of_ours_holds_its_own(foreign: Callable, cache: ArrayCache, tmp_path: Path) -> None:
    config = foreign(0.0, 1.0, normalization="none")
    checkpoints.save(tmp_path / "foreign.pt", Shades(0.0, 1.0).state_dict(), {"defense": "vanilla"})
    with pytest.raises(UserError, match=r"holds its own normalisation\. Leave out --normalization"):
        resolve(config, cache)
