"""What no model and no preprocessor gets past."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.contracts.defense import Defense, Preprocessor, bpda_identity
from harness.errors import UserError
from harness.evaluation.runner import run
from harness.models.checks import check_model, check_preprocessor
from harness.records.database import Records
from harness.registry import defenses

IMAGES = torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(0))


class Answers(nn.Module):
    """Logits that a test chooses."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer(images.flatten(1)[:, :5])


GOOD = Answers(lambda logits: logits)


def test_a_good_model_passes():
    check_model("mine", GOOD, IMAGES, classes=5, stochastic=False)
    check_model("mine", Answers(lambda logits: logits + torch.rand_like(logits)), IMAGES, classes=5, stochastic=True)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda logits: logits.softmax(1), "mine: the model returns probabilities, attacks need logits"),
        (lambda logits: logits * float("nan"), "mine: the model returned NaN"),
        (lambda logits: logits / 0, "mine: the model returned NaN or infinity"),
        (lambda logits: logits[:, :4], r"expected logits of shape \[4, 5\], got \[4, 4\]. The data set has 5 classes"),
        (lambda logits: logits[:, 0], r"expected logits of shape \[4, 5\], got \[4\]"),
        (
            lambda logits: logits + 1e-3 * torch.rand_like(logits),
            "returns other logits for the same images.*stochastic = True",
        ),
    ],
    ids=["probabilities", "nan", "infinity", "too few classes", "no classes", "undeclared noise"],
)
def test_a_model_whose_numbers_mean_nothing_is_refused(answer, message):
    with pytest.raises(UserError, match=message):
        check_model("mine", Answers(answer), IMAGES, classes=5, stochastic=False)


class Front(Preprocessor):
    """What a test chooses."""

    label = "front"

    def __init__(self, work) -> None:
        super().__init__()
        self.work = work

    def forward(self, images):
        return self.work(images)


@pytest.mark.parametrize("work", [lambda images: images**2, lambda images: bpda_identity(images, images.round())])
def test_a_good_preprocessor_passes(work):
    check_preprocessor(Front(work), IMAGES)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda images: images.detach().round(), r"front \(exact\): no gradient comes back.*bpda_identity"),
        (lambda images: (7 * images).round() / 7, "front.*is zero everywhere.*bpda_identity"),
        (lambda images: 0.9 * images.detach() + 0 * images, r"front.*is zero everywhere.*surrogates = \('bpda',\)"),
        (lambda images: (images - images.detach()).sqrt() + images, "front.*holds NaN or infinity.*bpda_identity"),
        (lambda images: images.detach() * torch.ones((), requires_grad=True), "front.*no gradient comes back"),
        (lambda images: images[:, :, 1:], r"front: a preprocessor keeps the shape \[4, 3, 8, 8\], got \[4, 3, 7, 8\]"),
        (
            lambda images: images * torch.rand(1),
            "front: the preprocessor returns something else for the same images",
        ),
    ],
    ids=["detached", "rounded", "a gradient of zero", "an infinite slope", "its own alone", "another shape", "random"],
)
def test_a_preprocessor_that_breaks_the_contract_is_refused(work, message):
    with pytest.raises(UserError, match=message):
        check_preprocessor(Front(work), IMAGES)


def test_every_surrogate_but_the_costly_ones_is_checked():
    class Several(Front):
        surrogates = ("identity", "none", "slow")
        costly_surrogates = ("slow",)

        def with_surrogate(self, name):
            return Front(lambda images: bpda_identity(images, images) if name == "identity" else images.detach())

    with pytest.raises(UserError, match=r"front \(none\): no gradient comes back"):
        check_preprocessor(Several(lambda images: images), IMAGES)
    Several.costly_surrogates = ("none", "slow")
    check_preprocessor(Several(lambda images: images), IMAGES)


class Softened(Defense):
    """Plain training of a network that ends in a softmax."""

    label = "softened"

    def protect(self, model):
        return nn.Sequential(model, nn.Softmax(1))


def test_a_run_refuses_before_it_trains(tmp_path: Path, register):
    register(defenses, "softened", Softened)
    config = RunConfig(
        defenses=("vanilla", "softened"), suites=("clean",), limit=4, train_limit=32, epochs=1, out=tmp_path / "out"
    )

    with pytest.raises(UserError, match="softened: the model returns probabilities"):
        run(config, ArrayCache(tmp_path / "cache"))
    assert not list((tmp_path / "out").glob("checkpoints/*.pt"))

    assert run(dataclasses.replace(config, defenses=("vanilla",)), ArrayCache(tmp_path / "cache")).failed == 0


class Restless(nn.Module):
    """A network that learns to answer at random: untrained it does not."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("noise", torch.zeros(()))

    def forward(self, images):
        self.noise += float(self.training)
        return self.model(images) + self.noise * torch.rand(1)


class Restlessness(Defense):
    """Plain training of such a network."""

    label = "restless"

    def protect(self, model):
        return Restless(model)


def test_what_training_came_to_is_looked_at_too(tmp_path: Path, register):
    register(defenses, "restless", Restlessness)
    config = RunConfig(
        defenses=("restless", "vanilla"), suites=("clean",), limit=4, train_limit=32, epochs=1, out=tmp_path / "out"
    )

    for _ in range(2):  # trained, then restored
        assert run(config, ArrayCache(tmp_path / "cache")).failed == 1
        with Records.open(config.out) as records:
            (failed,) = records.failures()
            assert set(records.frame().defense) == {"vanilla"}
        assert "restless: the model returns other logits for the same images each time" in failed.reason
