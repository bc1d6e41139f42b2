"""AutoAttack: how strong its examples are, what it leaves behind, and how each of its packages is called."""

from __future__ import annotations

import logging
import random
import sys
import types

import numpy as np
import pytest
import torch
from support.attacks import MEAN, STD, accuracy, ball, pictures, result_of, run
from torch import nn

from harness.attacks import autoattack_package
from harness.attacks.autoattack import APGD, VERSIONS, AutoAttack
from harness.attacks.base import Budget
from harness.attacks.gradient import PGD
from harness.attacks.losses import margin
from harness.contracts.model import NormalizedModel
from harness.errors import UserError
from harness.registry import attacks


@pytest.fixture
def few(victim):
    model, images, labels = victim
    return model, images[:30], labels[:30]


def apgd(**options) -> AutoAttack:
    return AutoAttack(stage="apgd-ce", **options)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("space", ["pixel", "normalized"])
@pytest.mark.parametrize("stage", ["apgd-ce", "apgd-t", "fab-t"])
def test_an_example_stays_inside_its_ball_and_the_box(few, norm, space, stage):
    model, images, labels = few
    epsilon = {"Linf": 0.06, "L2": 0.4}[norm] * (1 if space == "pixel" else 4)
    budget = Budget.of(epsilon, space, model.std, norm=norm)

    adversarial = run(AutoAttack(stage=stage), model, images, labels, budget=budget)

    assert budget.distance(adversarial, images).max() <= epsilon * (1 + 1e-5)
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    fooled = model(adversarial).argmax(1) != labels
    assert fooled.sum() > (model(images).argmax(1) != labels).sum()
    right, moved = model(images).argmax(1) == labels, (adversarial != images).flatten(1).any(1)
    assert torch.equal(moved, right & fooled if stage == "fab-t" else right)


def test_the_stages_together_are_the_whole(few):
    model, images, labels = few
    budget = ball(0.03, norm="Linf")
    whole = accuracy(model, run(AutoAttack(), model, images, labels, budget=budget), labels)

    left = torch.ones(len(images), dtype=torch.bool)
    for stage in VERSIONS["standard"]:
        adversarial = run(AutoAttack().at(stage), model, images[left], labels[left], budget=budget)
        right = model(adversarial).argmax(1) == labels[left]
        left[left.nonzero()[:, 0][~right]] = False

    assert float(left.float().mean()) == pytest.approx(whole, abs=0.04)
    assert 0 < whole < accuracy(model, images, labels)


def test_it_is_no_weaker_than_pgd(victim):
    model, images, labels = victim
    budget = ball(0.045, norm="Linf")

    theirs, ours = (accuracy(model, run(a, model, images, labels, budget=budget), labels) for a in (apgd(), PGD()))

    spread = np.sqrt(ours * (1 - ours) / len(images))
    assert theirs <= ours + 0.02
    assert theirs >= ours - 3 * spread


@pytest.mark.parametrize(
    "text", ["apgd:steps=3", "apgd:loss=dlr,steps=3", "apgd:loss=targeted,steps=3", "square:queries=30"]
)
def test_the_single_attacks_take_their_settings(few, text):
    model, images, labels = few
    weak, strong = (attacks.create(text), attacks.create(text.replace("=3", "=40")))

    left = [
        accuracy(model, run(a, model, images, labels, budget=ball(0.05, norm="Linf")), labels) for a in (weak, strong)
    ]

    assert left[1] <= left[0] < accuracy(model, images, labels)
    assert weak.parameters() != strong.parameters()


def test_a_radius_that_differs_between_channels_is_used_up_in_each(few):
    model, images, labels = few
    scale = torch.tensor([0.5, 1.0, 2.0])[:, None, None]

    adversarial = run(apgd(), model, images, labels, budget=ball(0.06, norm="Linf", scale=scale))

    change = (adversarial - images).abs().amax((0, 2, 3))
    torch.testing.assert_close(change, 0.06 * scale.flatten(), rtol=1e-4, atol=0)


def test_the_same_seed_gives_the_same_images_and_global_random_numbers_continue(few):
    model, images, labels = few
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002

    first, again, other = (run(apgd(), model, images, labels, seed=seed) for seed in (0, 0, 1))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]


def test_tracing_continues_and_no_count_is_kept(few):
    def trace(*_: object) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run(apgd(), *few)
        kept = sys.gettrace()
    finally:
        sys.settrace(before)

    assert kept is trace
    from pyautoattack.checks import funcs

    assert set(funcs.values()) == {0}
    assert not logging.getLogger("auto-attack").handlers


class Random(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.noise = torch.Generator().manual_seed(0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.model(images)
        return logits + torch.randn(logits.shape, generator=self.noise)


class Counting(nn.Module):
    """Counts the passes with a gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.passes = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += torch.is_grad_enabled()
        return self.model(images)


@pytest.mark.parametrize(("loss", "runs"), [("ce", 1), ("targeted", 4)])
def test_apgd_averages_as_many_gradients_as_it_is_asked_for(few, loss, runs):
    model, images, labels = few
    passes = []
    for draws in (1, 3):
        counting = Counting(model)
        run(APGD(loss=loss, steps=4), counting, images, labels, budget=ball(1e-4, norm="Linf", draws=draws))
        passes.append(counting.passes)

    assert passes[1] - passes[0] == 2 * runs * (4 + 1)  # at the start and after each of four steps


@pytest.mark.parametrize(
    ("text", "draws"),
    [
        ("autoattack", 1),
        ("autoattack:version=plus", 1),
        ("autoattack:version=rand", 20),
        ("apgd", 7),
        ("square", 1),
        ("pgd", 7),
        ("fgsm", 7),
    ],
)
def test_an_attack_says_how_many_gradients_it_really_averages(text, draws):
    assert attacks.create(text).draws(7) == draws


def test_rand_averages_the_gradients_it_says(few):
    model, images, labels = few
    passes = []
    for version in ("standard", "rand"):
        counting = Counting(model)
        stage = AutoAttack(version=version).at("apgd-ce")
        run(stage, counting, images[:4], labels[:4], budget=ball(1e-4, norm="Linf"))
        passes.append(counting.passes)

    assert passes[1] - passes[0] == (AutoAttack(version="rand").draws(1) - 1) * (100 + 1)


@pytest.mark.parametrize(
    ("text", "still", "noisy"),
    [
        ("autoattack", "autoattack", "autoattack:version=rand"),
        ("autoattack:version=standard", "autoattack", "autoattack:version=standard"),
        ("autoattack:version=rand", "autoattack:version=rand", "autoattack:version=rand"),
        ("pgd:steps=20", "pgd", "pgd"),
    ],
)
def test_the_version_depends_on_the_model_unless_it_is_given(text, still, noisy):
    attack = attacks.create(text)

    assert (attack.label_on(stochastic=False), attack.label_on(stochastic=True)) == (still, noisy)


def test_its_warnings_become_flags(few, capsys, recwarn):
    model, images, labels = few
    models = model, Random(model), nn.Sequential(model, nn.Softmax(1))

    quiet, noisy, probabilities = (result_of(apgd(), each, images, labels).flags for each in models)

    assert quiet == ()
    assert any("randomized" in flag for flag in noisy)
    assert any("probability" in flag for flag in probabilities)
    assert all("\n" not in flag and "See" not in flag for flag in noisy + probabilities)
    assert capsys.readouterr() == ("", "")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("autoattack:version=fast", "unknown version of AutoAttack 'fast'"),
        ("autoattack:version=rand,stage=square", "unknown stage of AutoAttack rand 'square'"),
        ("apgd:loss=kl", "unknown loss of apgd 'kl'"),
        ("apgd:steps=0", "steps and restarts must be 1 or more, got 0 and 1"),
        ("square:queries=0", "queries must be 1 or more, got 0"),
    ],
)
def test_wrong_options_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        attacks.create(text)


def test_too_few_classes_are_refused():
    model = NormalizedModel(nn.Sequential(nn.Flatten(), nn.Linear(108, 3)), MEAN, STD)

    with pytest.raises(UserError, match=r"apgd-t needs 4 classes or more, the model has 3"):
        run(AutoAttack(), model, pictures(2), torch.tensor([0, 1]))


def test_without_a_package_the_error_says_what_to_install(few, monkeypatch):
    monkeypatch.setattr(autoattack_package, "PACKAGES", ("no_such_package",))

    with pytest.raises(UserError, match="pip install pyautoattack"):
        run(apgd(), *few)


class Original:
    """The original package's arguments; it adds its radius to every pixel."""

    def __init__(self, model, norm="Linf", eps=0.3, seed=None, verbose=True, attacks_to_run=(), version="standard",
                 is_tf_model=False, device="cuda", log_path=None):  # fmt: skip
        self.given = {"norm": norm, "eps": eps, "version": version, "device": device, "verbose": verbose}
        self.attacks_to_run = list(attacks_to_run)
        self.apgd_targeted = self.fab = types.SimpleNamespace(n_target_classes=9, attack_single_run=None)
        self.apgd = self.square = types.SimpleNamespace(attack_single_run=None)
        made.append(self)

    def run_standard_evaluation(self, x_orig, y_orig, bs=250, return_labels=False, state_path=None):
        print("Warning: something is odd. See a page for details.")
        return (x_orig + self.given["eps"]).clamp(max=1)


made: list[Original] = []


def test_the_original_package_is_called_as_it_wants(few, monkeypatch):
    package, checks = types.ModuleType("autoattack"), types.ModuleType("autoattack.checks")
    package.AutoAttack, checks.funcs = Original, {"grad": 3}
    monkeypatch.setitem(sys.modules, "autoattack", package)
    monkeypatch.setitem(sys.modules, "autoattack.checks", checks)
    monkeypatch.setattr(autoattack_package, "PACKAGES", ("autoattack",))
    model, images, labels = few

    result = result_of(AutoAttack(), model, images, labels, budget=ball(0.1, norm="Linf"))

    torch.testing.assert_close(result.images, (images + 0.1).clamp(max=1))
    assert made[-1].attacks_to_run == list(VERSIONS["standard"])
    assert made[-1].apgd_targeted.n_target_classes == 4
    assert made[-1].given["verbose"] is False
    assert result.flags == ("something is odd.",)


@pytest.mark.parametrize("text", ["apgd:steps=5", "apgd:loss=targeted,steps=5", "square:queries=20"])
def test_an_image_that_was_not_fooled_comes_back_at_its_best_point(few, text):
    """On another model it would else count as attacked though it is clean."""
    model, images, labels = few
    budget = ball(0.02, norm="Linf")
    right = model(images).argmax(1) == labels

    adversarial = run(attacks.create(text), model, images, labels, budget=budget)

    left = right & (model(adversarial).argmax(1) == labels)
    assert left.sum() >= 5
    assert budget.distance(adversarial, images)[left].min() > 0.01
    assert (margin(model(adversarial), labels) > margin(model(images), labels))[left].float().mean() > 0.8
    assert torch.equal(adversarial[~right], images[~right])


def test_others_find_the_installed_package_under_the_original_name(few, monkeypatch):
    monkeypatch.delitem(sys.modules, "autoattack", raising=False)
    monkeypatch.delitem(sys.modules, "autoattack.state", raising=False)
    model, images, labels = few

    autoattack_package.stand_in()
    from autoattack import AutoAttack as Stand
    from autoattack.state import EvaluationState

    attack = Stand(model, norm="Linf", eps=0.045, version="standard", device="cpu", log_path=None)
    attack.attack.attacks_to_run = ["apgd-ce"]
    adversarial = attack.run_standard_evaluation(images, labels, bs=30, state_path=None)

    assert EvaluationState.__module__.startswith("pyautoattack")
    assert adversarial.shape == images.shape
    assert run(apgd(), model, images, labels).shape == images.shape  # and we still find the real one
    for name in ("autoattack", "autoattack.state"):
        monkeypatch.delitem(sys.modules, name)
