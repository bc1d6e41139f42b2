"""What no model and no preprocessor gets past."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.contracts.defense import Defense, Preprocessor, bpda_identity
from harness.contracts.model import ExternalModel, NormalizedModel
from harness.errors import UserError
from harness.evaluation.runner import run
from harness.models.checks import check_model, check_preprocessor, check_training_mode
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


class Wrapped(NamedTuple):
    """What some networks return in training."""

    logits: torch.Tensor
    features: torch.Tensor


class Plain(torch.Tensor):
    """A subclass that behaves as a tensor does."""


class Dispatching(torch.Tensor):
    """A subclass with a dispatch of its own."""

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError


ONE_READING = {
    "a tensor": lambda logits: logits,
    "a tuple of one": lambda logits: (logits,),
    "a list of one": lambda logits: [logits],
    "a dict of one": lambda logits: {"anything": logits},
    "by name": lambda logits: {"features": logits * 2, "logits": logits},
    "by field": lambda logits: Wrapped(logits, logits * 2),
    "a subclass": lambda logits: logits.as_subclass(Plain),
}
NO_READING = {
    "logits and features": (lambda logits: (logits, logits * 2), "got a tuple of 2"),
    "a list of two": (lambda logits: [logits, logits], "got a list of 2"),
    "a dict of two": (lambda logits: {"a": logits, "b": logits}, "got a dict with the keys 'a', 'b'"),
    "an empty dict": (lambda logits: {}, "got a dict with the keys none"),
    "a tuple in a tuple": (lambda logits: ((logits,),), "got a tuple of 1"),
    "nothing": (lambda logits: None, "got a NoneType"),
    "a class": (lambda logits: logits.argmax(1), "got a Tensor of int64"),
    "complex": (lambda logits: logits.to(torch.complex64), "got a Tensor of complex64"),
    "sparse": (lambda logits: logits.to_sparse(), "got a Tensor of float32, sparse_coo"),
    "an array": (lambda logits: logits.numpy(), "got a ndarray"),
}


@pytest.mark.parametrize("answer", ONE_READING.values(), ids=ONE_READING.keys())
@pytest.mark.parametrize("kind", [NormalizedModel, ExternalModel])
def test_logits_are_taken_where_there_is_one_reading(answer, kind):
    model = kind(Answers(answer), (0.0,) * 3, (1.0,) * 3)

    assert type(model(IMAGES)) is torch.Tensor
    assert torch.equal(model(IMAGES), GOOD(IMAGES))
    check_model("mine", model, IMAGES, classes=5, stochastic=False)


@pytest.mark.parametrize(("answer", "got"), NO_READING.values(), ids=NO_READING.keys())
def test_what_is_no_logits_is_refused_by_name(answer, got):
    model = NormalizedModel(Answers(answer), (0.0,) * 3, (1.0,) * 3)

    with pytest.raises(UserError, match=rf"mine: expected the model to return logits alone, .*\[4, 5\].* {got}\."):
        check_model("mine", model, IMAGES, classes=5, stochastic=False)


def test_a_subclass_that_may_hold_no_plain_numbers_is_refused():
    wrapper = torch.Tensor._make_wrapper_subclass(Dispatching, (4, 5))
    model = NormalizedModel(Answers(lambda logits: wrapper), (0.0,) * 3, (1.0,) * 3)

    with pytest.raises(UserError, match="got a Dispatching of float32"):
        check_model("mine", model, IMAGES, classes=5, stochastic=False)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single_but_under_autocast(kind):
    model = NormalizedModel(Answers(lambda logits: logits.to(kind)), (0.0,) * 3, (1.0,) * 3)

    assert torch.equal(model(IMAGES), GOOD(IMAGES).to(kind).float())
    with torch.autocast("cpu", torch.bfloat16):
        assert model(IMAGES).dtype is kind
    check_model("mine", model, IMAGES, classes=5, stochastic=False)


def test_a_model_that_fails_is_refused_with_its_reason():
    def fail(logits):
        raise RuntimeError("no such layer\nand more")

    message = r"mine: the model fails on images of shape \[4, 3, 8, 8\]: RuntimeError: no such layer \(test_checks.py"
    with pytest.raises(UserError, match=message):
        check_model("mine", Answers(fail), IMAGES, classes=5, stochastic=False)


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_batch_of_one_must_do_too(stochastic):
    with pytest.raises(UserError, match=r"expected logits of shape \[1, 5\], got \[5\]"):
        check_model("mine", Answers(torch.squeeze), IMAGES, classes=5, stochastic=stochastic)


def test_what_is_returned_in_training_is_looked_at():
    class Auxiliary(Answers):
        def forward(self, images):
            return (super().forward(images),) * 2 if self.training else super().forward(images)

    model = Auxiliary(lambda logits: logits)
    check_model("mine", model.eval(), IMAGES, classes=5, stochastic=False)
    with pytest.raises(UserError, match=r"mine, in training: expected the model to return logits alone.*a tuple of 2"):
        check_training_mode("mine", model, IMAGES, classes=5)


def test_checks_leave_the_random_numbers_alone():
    before = torch.random.get_rng_state()
    check_model("mine", Answers(lambda logits: logits + torch.rand(1)), IMAGES, classes=5, stochastic=True)
    check_training_mode("mine", Answers(lambda logits: logits + torch.rand(1)), IMAGES, classes=5)

    assert torch.equal(torch.random.get_rng_state(), before)


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


def test_a_preprocessor_that_looks_at_the_whole_batch_is_refused() -> None:
    class Brightest(Preprocessor):
        label = "brightest"

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images / images.max()

    images = torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="brightest: what the preprocessor makes of an image depends on the other"):
        check_preprocessor(Brightest(), images)
