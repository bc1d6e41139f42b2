"""The adversarial suite: its conditions, their radii, and examples that depend on the image alone."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from support.attacks import DATASET
from torch import nn
from torch.nn import functional

from harness import __main__ as cli
from harness.contracts.model import NormalizedModel, Pipeline
from harness.errors import UserError
from harness.registry import attacks, suites
from harness.suites.adversarial import Adversarial, inner_normalization, show_epsilon
from harness.suites.base import SuiteContext
from harness.types import Condition, Split

STD = (0.2, 0.25, 0.3)


def network() -> NormalizedModel:
    """A small smooth network for images of 6×6 pixels: no gradient of it is exactly zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 6, 3), nn.GELU(), nn.Flatten(), nn.Linear(96, 3)]
        return NormalizedModel(nn.Sequential(*layers), (0.4, 0.5, 0.6), STD).eval()


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def context(**changes: Any) -> SuiteContext:
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 6, 6), dtype=np.uint8)
    split = Split(images=images, labels=np.arange(8) % 3, indices=np.arange(8) * 5, digest="d")
    return SuiteContext(**{"dataset": DATASET, "split": split, "seed": 0, **changes})


def test_conditions_are_threats_then_attacks_then_radii() -> None:
    found = suites.create("adversarial").conditions(context())

    names = [f"{attack} eps={epsilon}" for attack in ("fgsm", "pgd") for epsilon in ("8/255", "16/255")]
    assert [(condition.threat, condition.name) for condition in found] == [
        *itertools.product(("bare", "adaptive"), names)
    ]
    assert {condition.severity for condition in found} == {None}


def test_a_condition_says_all_that_changes_its_result() -> None:
    made = context(epsilons=(0.1,), epsilon_space="normalized", stochastic=True)
    found = suites.create("adversarial:attacks=pgd:steps=7,draws=3").conditions(made)

    assert [condition.name for condition in found] == ["pgd:steps=7 eps=0.1"] * 2
    assert found[1].parameters == {**found[0].parameters, "gradient": "exact"}
    assert found[0].parameters == {
        "attack": "pgd:steps=7",
        "steps": 7,
        "relative_step": 0.25,
        "restarts": 1,
        "loss": "ce",
        "targets": 0,
        "early_stop": False,
        "norm": "Linf",
        "epsilon": 0.1,
        "epsilon_space": "normalized",
        "draws": 3,
    }
    assert json.loads(json.dumps(found[0].parameters)) == found[0].parameters


def test_only_a_stochastic_model_is_averaged_over() -> None:
    draws = [
        {condition.parameters["draws"] for condition in Adversarial().conditions(context(stochastic=stochastic))}
        for stochastic in (False, True)
    ]

    assert draws == [{1}, {10}]


def test_the_draws_of_a_transfer_are_those_of_the_model_that_is_attacked() -> None:
    suite = Adversarial(attacks=("fgsm", "autoattack"))
    target, source = (
        {(c.threat, c.parameters["attack"], c.parameters["draws"]) for c in suite.conditions(made)}
        for made in (
            context(has_transfer=True, stochastic=True),
            context(has_transfer=True, stochastic_source=True),
        )
    )

    noisy, still = {("fgsm", 10), ("autoattack:version=rand", 20)}, {("fgsm", 1), ("autoattack", 1)}
    assert target == {(t, *part) for t in ("bare", "adaptive") for part in noisy} | {("transfer", *p) for p in still}
    assert source == {(t, *part) for t in ("bare", "adaptive") for part in still} | {("transfer", *p) for p in noisy}


def test_a_ball_on_normalised_images_is_measured_by_the_model_under_test() -> None:
    attacked, target = network(), network()
    target.std.mul_(2)
    made = context(epsilon_space="normalized", has_transfer=True, target=target)
    condition = next(c for c in Adversarial().conditions(made) if c.threat == "transfer" and c.name == "pgd eps=8/255")
    clean = torch.from_numpy(made.split.images).float() / 255

    found = Adversarial().perturb(np.arange(8), condition, made, attacked).images

    assert ((found - clean) / target.std).abs().max().item() == pytest.approx(8 / 255, rel=1e-3)


def test_an_attack_without_a_gradient_goes_through_once_whatever_the_surrogates() -> None:
    surrogates = ("bpda", "identity", "unrolled")
    for asked in ((), ("identity",)):
        found = Adversarial(attacks=("square", "fgsm"), threats=("adaptive",), gradients=asked, draws=3).conditions(
            context(epsilons=(0.1,), surrogates=surrogates, stochastic=True)
        )
        assert [(c.name, c.parameters["gradient"], c.parameters["draws"]) for c in found[:1]] == [
            ("square eps=0.1", "bpda", 1)
        ]
        assert len(found) == 1 + len(asked or surrogates)


def test_what_only_measures_is_no_attack() -> None:
    with pytest.raises(UserError, match=r"landscape only measures a model and fools none. The suite masking runs it"):
        Adversarial(attacks=("pgd", "landscape")).conditions(context())


def test_what_only_measures_is_not_offered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "list", "attacks"])
    with pytest.raises(SystemExit):
        cli.main()
    with pytest.raises(UserError, match=r"Known: .*fgsm") as refused:
        attacks.entry("landscap")

    listed = capsys.readouterr().out
    assert "fgsm" in listed
    assert "landscape" not in listed + str(refused.value)


def test_an_attack_named_twice_is_one_condition() -> None:
    found = Adversarial(attacks=("pgd", "fgsm", "pgd:steps=20")).conditions(context(epsilons=(0.1,)))

    assert [condition.name for condition in found] == ["pgd eps=0.1", "fgsm eps=0.1"] * 2


@pytest.mark.parametrize(
    ("epsilon", "shown"),
    [
        (8 / 255, "8/255"),
        (16 / 255, "16/255"),
        (1 / 255, "1/255"),
        (1.0, "255/255"),
        (0.03, "0.03"),
        (0.5 / 255, "0.00196078"),
        (1e-9, "1e-09"),
    ],
)
def test_a_radius_is_shown_as_the_field_writes_it(epsilon: float, shown: str) -> None:
    assert show_epsilon(epsilon) == shown


@pytest.mark.parametrize("epsilon", [0.0, -0.1, 8.0, float("nan")])
def test_a_radius_out_of_range_is_refused(epsilon: float) -> None:
    with pytest.raises(UserError, match=r"epsilon must be above 0 and at most 1,.*Write 8/255"):
        Adversarial().conditions(context(epsilons=(8 / 255, epsilon)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adversarial:limit=0", "limit must be 1 or more images, got 0"),
        ("adversarial:attacks=", "adversarial: attacks must be names, such as attacks=fgsm/pgd"),
        ("adversarial:draws=0", "draws must be 1 or more, got 0"),
        ("adversarial:attack=pgd", "Its parameters: attacks, limit, draws, threats, gradients."),
        ("adversarial:threats=bare/white", "threats must be some of bare/transfer/adaptive, got 'bare/white'"),
    ],
)
def test_wrong_parameters_of_the_suite_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        suites.create(text)

    assert message in str(error.value)


def test_an_unknown_attack_is_refused_before_any_model_is_needed() -> None:
    with pytest.raises(UserError, match=r"unknown attack 'fsgm'"):
        Adversarial(attacks=("fsgm",)).conditions(context())


def chosen(context: SuiteContext, name: str) -> Condition:
    return next(condition for condition in Adversarial().conditions(context) if condition.name == name)


@pytest.mark.parametrize("space", ["pixel", "normalized"])
def test_the_suite_attacks_its_rows_within_the_radius_of_the_condition(space: Any) -> None:
    made, model = context(epsilon_space=space), network()
    condition = chosen(made, "pgd eps=16/255")
    clean = torch.from_numpy(made.split.images[[1, 5]]).float() / 255

    found = Adversarial().perturb(np.array([1, 5]), condition, made, model).images

    scale = 1 if space == "pixel" else torch.tensor(STD)[:, None, None]
    assert ((found - clean) / scale).abs().max().item() == pytest.approx(16 / 255, rel=1e-3)
    assert accuracy(model, found, torch.tensor([1, 2])) <= accuracy(model, clean, torch.tensor([1, 2]))


@pytest.mark.parametrize("batch_size", [2, 3, 256])
def test_the_suite_gives_an_image_the_same_example_in_any_block(batch_size: int) -> None:
    made, model = context(batch_size=batch_size), network().double()  # no sign hangs on the order of a library's sums
    condition = chosen(made, "pgd eps=8/255")
    everything = Adversarial().perturb(np.arange(8), condition, made, model).images

    torch.testing.assert_close(
        Adversarial().perturb(np.array([6, 2]), condition, made, model).images, everything[[6, 2]]
    )


def test_the_random_start_follows_an_images_place_in_the_full_split() -> None:
    made, model, suite = context(epsilons=(8 / 255,)), network(), Adversarial(attacks=("pgd:steps=1",))
    subset = Split(**{name: getattr(made.split, name)[[6, 2]] for name in ("images", "labels", "indices")}, digest="d")
    moved = dataclasses.replace(made.split, indices=made.split.indices + 1)
    condition = suite.conditions(made)[0]

    whole, taken, other = (
        suite.perturb(rows, condition, context(split=split), model).images
        for rows, split in [(np.array([6, 2]), made.split), (np.arange(2), subset), (np.array([6, 2]), moved)]
    )

    torch.testing.assert_close(taken, whole)
    assert (other - whole).abs().max() > 1 / 255


def test_another_seed_of_the_model_is_another_random_start() -> None:
    model, rows = network(), np.arange(8)
    one, other = (
        Adversarial().perturb(rows, chosen(made, "pgd eps=8/255"), made, model).images
        for made in (context(seed=0), context(seed=1))
    )

    assert not torch.equal(one, other)


class Darken(nn.Module):
    """A preprocessor that lets a fifth of the light through."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images / 5


def test_the_adaptive_attack_goes_through_the_whole_pipeline() -> None:
    made, model, rows = context(), network(), np.arange(8)
    defended = Pipeline(Darken(), model)
    condition = chosen(made, "pgd eps=16/255")
    labels = torch.from_numpy(made.split.labels)

    losses = [
        functional.cross_entropy(defended(Adversarial().perturb(rows, condition, made, attacked).images), labels).item()
        for attacked in (model, defended)
    ]

    assert losses[1] > losses[0]


def test_the_normalisation_inside_any_model_is_found() -> None:
    inner = network()

    assert inner_normalization(inner) is inner
    assert inner_normalization(Pipeline(Darken(), nn.Sequential(nn.Identity(), inner))) is inner


def test_a_model_without_normalisation_is_refused_with_advice() -> None:
    with pytest.raises(UserError, match=r"build it with harness.contracts.model.NormalizedModel\(network, mean, std\)"):
        inner_normalization(nn.Linear(2, 2))


def test_the_largest_radius_is_that_of_the_ball_that_holds_every_image() -> None:
    whole = (3 * 6 * 6) ** 0.5
    suite = Adversarial(attacks=("fgsm",), threats=("bare",))

    (condition,) = suite.conditions(context(norm="L2", epsilons=(3.0,)))
    assert condition.parameters["epsilon"] == 3
    assert suite.conditions(context(norm="L2", epsilons=(whole,)))
    assert suite.conditions(context(norm="Linf", epsilons=(4.0,), epsilon_space="normalized"))
    with pytest.raises(
        UserError, match=r"at most 10\.39, the ball that holds every image \(L2, pixel space\), got 10\.5"
    ):
        suite.conditions(context(norm="L2", epsilons=(10.5,)))
    with pytest.raises(UserError, match=r"at most 5, .*got 5\.1"):
        suite.conditions(context(norm="Linf", epsilons=(5.1,), epsilon_space="normalized"))


@pytest.mark.parametrize(
    ("attack", "least"),
    [
        ("fgsm", 2),
        ("pgd:loss=margin", 2),
        ("pgd:loss=dlr", 3),
        ("pgd:loss=dlr,targets=2", 4),
        ("apgd", 2),
        ("apgd:loss=dlr", 3),
        ("apgd:loss=targeted", 4),
        ("square", 2),
        ("autoattack", 4),
        ("autoattack:version=rand", 3),
        ("autoattack:version=plus,stage=fab-t", 2),
    ],
)
def test_an_attack_that_needs_more_classes_is_refused_when_a_run_is_planned(attack: str, least: int) -> None:
    few, enough = (
        dataclasses.replace(context(), dataset=types.SimpleNamespace(**{**vars(DATASET), "classes": ("a",) * count}))
        for count in (least - 1, least)
    )

    assert Adversarial(attacks=(attack,)).conditions(enough)
    if least > 2:
        with pytest.raises(UserError, match=f"needs {least} classes or more, the data set has {least - 1}"):
            Adversarial(attacks=(attack,)).conditions(few)
