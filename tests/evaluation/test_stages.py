"""Attacks in stages: each goes on from what the one before left, also after an interruption."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.attack_runs import recorded

from harness.attacks import autoattack
from harness.attacks.base import Attack, AttackResult
from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.errors import UserError
from harness.evaluation.planner import Planner
from harness.evaluation.runner import Outcome, Runner, run
from harness.evaluation.setup import resolve
from harness.records.database import Records
from harness.registry import attacks, suites
from harness.suites.base import Suite, SuiteContext
from harness.types import Condition


class InStages(Attack):
    """The first stage whitens the even images, the second blackens what it is given."""

    name = "staged"
    given: list[tuple[str, list[int]]] = []  # noqa: RUF012 (emptied by the test)

    def __init__(self, *, stage: str = "") -> None:
        self.stage = stage
        self.stages = () if stage else ("white", "black")

    def at(self, stage: str) -> Attack:
        return InStages(stage=stage)

    def __call__(self, model, images, labels, budget, *, seed, indices):
        InStages.given.append((self.stage, indices.tolist()))
        colour = torch.full_like(images, float(self.stage == "white"))
        even = torch.from_numpy(indices % 2 == 0)[:, None, None, None]
        return torch.where(even, colour, images) if self.stage == "white" else colour


def test_a_stage_attacks_only_what_the_one_before_left(small: RunConfig, cache: ArrayCache, register) -> None:
    InStages.given = []
    register(attacks, "staged", InStages)
    chosen = dataclasses.replace(small, attacks=("staged",), suites=("adversarial:threats=bare/adaptive",))

    outcome = run(chosen, cache)

    assert outcome.failed == 0
    with Records.open(chosen.out) as records:
        frame = records.frame().set_index(["threat", "condition", "preprocess"])
        correct = {key: records.correct(identity) for key, identity in frame.identity.items()}
        found = {key: records.predictions(identity) for key, identity in frame.identity.items()}
    taken = [indices for stage, indices in InStages.given if stage == "black"]
    for threat, preprocess in (("bare", "none"), ("adaptive", "virolbi")):
        first, second = ((threat, f"staged {stage} eps=8/255", preprocess) for stage in ("white", "black"))
        left = correct[first]
        assert len(taken.pop(0)) == left.sum()
        assert np.array_equal(found[second][~left], found[first][~left])
        assert not (correct[second] & ~left).any()


def test_an_interrupted_attack_goes_on_at_its_next_stage(small: RunConfig, cache: ArrayCache, register) -> None:
    InStages.given = []
    register(attacks, "staged", InStages)
    chosen = dataclasses.replace(small, attacks=("staged",), suites=("adversarial:threats=bare",))
    with Records.open(chosen.out, write=True) as records:
        setup = resolve(chosen, cache)
        at_work = Runner(setup, records)
        first, *_ = Planner(setup, None).plan([at_work.prepare(setup.candidates[0])])
        at_work.evaluate(first)

    outcome = run(chosen, cache)

    assert outcome == Outcome(evaluated=2, skipped=2, failed=0)
    assert [stage for stage, _ in InStages.given] == ["white", "black"]


def test_a_stage_without_the_one_before_fails_with_that_reason(small: RunConfig, cache: ArrayCache, register) -> None:
    class Failing(InStages):
        def at(self, stage: str) -> Attack:
            return Failing(stage=stage)

        def __call__(self, *given, **more):
            if self.stage == "white":
                raise RuntimeError("no paint")
            return super().__call__(*given, **more)

    register(attacks, "staged", Failing)
    chosen = dataclasses.replace(small, attacks=("staged",), suites=("adversarial:threats=bare",))

    assert run(chosen, cache) == Outcome(evaluated=0, skipped=0, failed=4)
    with Records.open(chosen.out) as records:
        reasons = [failed.reason for failed in records.failures()]
    assert sum("no paint" in reason for reason in reasons) == 2
    assert sum("the stage before it, staged white eps=8/255, was not scored" in reason for reason in reasons) == 2


def test_autoattack_is_recorded_stage_by_stage(small: RunConfig, cache: ArrayCache, monkeypatch) -> None:
    monkeypatch.setattr(autoattack, "evaluate", lambda _, images, *__, **___: AttackResult(images, ("odd",)))
    chosen = dataclasses.replace(
        small, attacks=("autoattack:version=rand",), suites=("adversarial:threats=bare",), limit=4
    )

    run(chosen, cache)

    found = recorded(chosen.out)
    assert sorted({condition for *_, condition, _ in found}) == [
        "autoattack:version=rand apgd-ce eps=8/255",
        "autoattack:version=rand apgd-dlr eps=8/255",
    ]


class StagedTransfer(Suite):
    """A transfer in two stages."""

    needs_model = True

    def conditions(self, context: SuiteContext) -> list[Condition]:
        if not context.has_transfer:
            return []
        first = Condition("first", threat="transfer")
        return [first, Condition("second", threat="transfer", after=first)]

    def perturb(self, rows, condition, context, model):
        return torch.from_numpy(context.split.images[rows]).float() / 255


def test_a_later_stage_of_a_transfer_goes_on_from_the_model_under_test(small, cache, register) -> None:
    register(suites, "staged_transfer", StagedTransfer)
    config = dataclasses.replace(small, defenses=("vanilla", "blur"), suites=("staged_transfer",))

    assert run(config, cache) == Outcome(evaluated=8, skipped=0, failed=0)


def test_a_transfer_without_a_model_to_make_examples_on_is_refused_before_training(small, cache, register) -> None:
    class Blind(StagedTransfer):
        def conditions(self, context: SuiteContext) -> list[Condition]:
            return [Condition("first", threat="transfer")]

    register(suites, "blind", Blind)
    with pytest.raises(UserError, match="plans a transfer attack where there is no other model"):
        run(dataclasses.replace(small, suites=("blind",)), cache)
    assert not list(small.out.rglob("*.pt"))
