"""The suite that checks attacks, and the checks: each is failed by a defense that earns it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.attacks import DATASET, MEAN, STD, Times, ball, result_of
from torch import nn

from harness.attacks.landscape import Landscape
from harness.cache import ArrayCache
from harness.config import DEFAULT_SUITES, RunConfig
from harness.contracts.model import NormalizedModel
from harness.errors import UserError
from harness.evaluation.setup import resolve
from harness.registry import suites
from harness.suites.base import SuiteContext
from harness.types import Split


def context(**changes) -> SuiteContext:
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 6, 6), dtype=np.uint8)
    split = Split(images=images, labels=np.arange(8) % 3, indices=np.arange(8) * 5, digest="d")
    return SuiteContext(**{"dataset": DATASET, "split": split, "seed": 0, **changes})


def test_the_conditions_are_a_curve_and_attacks_at_one_radius():
    found = suites.create("masking:epsilon=0.05").conditions(
        context(has_transfer=True, surrogates=("bpda", "identity"))
    )

    curve = [condition for condition in found if condition.parameters["attack"] in ("fgsm", "pgd")][:-1]
    assert sorted({round(255 * c.parameters["epsilon"], 3) for c in curve}) == [1, 2, 4, 8, 12.75, 16, 32, 64, 128]
    assert {c.threat for c in found} == {"adaptive", "transfer"}
    assert {c.parameters.get("gradient") for c in found if c.threat == "adaptive"} == {"bpda"}
    rest = [(c.threat, c.name) for c in found[len(curve) :]]
    assert rest == [
        ("adaptive", "landscape eps=0.05"),
        ("adaptive", "square:queries=1000 eps=0.05"),
        ("adaptive", "apgd eps=0.05"),
        ("adaptive", "pgd:loss=margin eps=0.05"),
        ("adaptive", "pgd:steps=100,restarts=5 eps=0.05"),
        ("transfer", "pgd eps=0.05"),
    ]


def test_the_radius_is_the_runs_first_unless_said():
    found = suites.create("masking:steps=7,restarts=2,queries=9").conditions(context(epsilons=(4 / 255, 8 / 255)))

    assert [c.name for c in found[-4:]] == [
        "square:queries=9 eps=4/255",
        "apgd eps=4/255",
        "pgd:loss=margin eps=4/255",
        "pgd:steps=7,restarts=2 eps=4/255",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("masking:epsilon=2", "epsilon must be above 0 and at most 1, got 2"),
        ("masking:gradient=unrolled", "gradient must be one of the preprocessor's exact, got unrolled"),
    ],
)
def test_wrong_parameters_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        suites.create(text).conditions(context())


def test_it_must_be_asked_for(tmp_path):
    setup = resolve(RunConfig(suites=("all",), out=tmp_path, train_limit=8), ArrayCache(tmp_path))
    names = {suite.label for suite in setup.suites}

    assert "masking" not in names
    assert set(DEFAULT_SUITES) <= names


class Staircase(nn.Module):
    """Rounds what the network sees, whose gradient is then 0."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model((images * 10).round() / 10 + 0 * images)


class Misleading(nn.Module):
    """The right answers with the gradient of something else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images):
        with torch.no_grad():
            right = self.model(images.detach())
        other = self.model(images.flip(1, 2, 3).neg())
        return right + other - other.detach()


def test_the_landscape_of_an_honest_model_follows_its_gradient(victim):
    model, images, labels = victim

    result = result_of(Landscape(), model, images, labels, budget=ball(0.03, norm="Linf"))

    assert result.measures["zero_gradients"] == result.measures["zero_margin_gradients"] == 0
    assert result.measures["zero_components"] < 0.2
    assert result.measures["gradient_wins"] > 0.98
    assert ball(0.03, norm="Linf").distance(result.images, images).max() <= 0.03 + 1e-6


def test_the_landscape_shows_a_gradient_that_is_not_there(victim):
    model, images, labels = victim

    result = result_of(Landscape(), Staircase(model), images, labels, budget=ball(0.03, norm="Linf"))

    assert result.measures["zero_gradients"] == 1
    assert result.measures["gradient_wins"] < 0.2


def test_the_landscape_shows_that_large_logits_hide_the_loss_that_attacks_climb(victim):
    model, images, labels = victim
    known = model(images).argmax(1) == labels
    scaled = NormalizedModel(nn.Sequential(model.network, Times(1e4)), MEAN, STD)

    result = result_of(Landscape(), scaled, images[known], labels[known], budget=ball(0.03, norm="Linf"))

    assert result.measures["zero_gradients"] > 0.9
    assert result.measures["zero_margin_gradients"] == 0
    assert result.measures["gradient_wins"] < 0.2


def test_the_landscape_shows_a_gradient_that_leads_nowhere(victim):
    model, images, labels = victim

    result = result_of(Landscape(), Misleading(model), images, labels, budget=ball(0.03, norm="Linf"))

    assert result.measures["zero_gradients"] == 0
    assert result.measures["gradient_wins"] < 0.6
