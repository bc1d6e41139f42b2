"""Threat models through the runner: which model is attacked, by which way, and what stages take over."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.attack_runs import recorded
from support.attacks import DATASET
from support.runs import defended_models
from torch import nn

from harness.attacks.base import Attack, AttackResult
from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.contracts.defense import Defense, Preprocessor
from harness.contracts.model import NormalizedModel
from harness.errors import UserError
from harness.evaluation.cells import planned_cell
from harness.evaluation.planner import Planner, _transfer_key, other_model
from harness.evaluation.runner import Outcome, Runner, run
from harness.evaluation.setup import resolve
from harness.models.defended import DefendedModel
from harness.records.database import Records
from harness.registry import attacks, defenses, preprocessors, suites
from harness.suites.base import SuiteContext
from harness.types import Condition


class Spy(Attack):
    """Returns white images and remembers what it was given."""

    name = "spy"
    seen: list[tuple[nn.Module, np.ndarray]] = []  # noqa: RUF012 (emptied by the test)

    def __call__(self, model, images, labels, budget, *, seed, indices):
        Spy.seen.append((model, indices))
        return budget.clip(torch.ones_like(images), images)


@pytest.fixture
def spy(register):
    Spy.seen = []
    register(attacks, "spy", Spy)
    return Spy.seen


def test_each_threat_attacks_its_own_model(small: RunConfig, cache: ArrayCache, spy) -> None:
    chosen = dataclasses.replace(small, defenses=("vanilla", "blur"), attacks=("spy",))

    with Records.open(chosen.out, write=True) as records:
        setup = resolve(chosen, cache)
        at_work = Runner(setup, records)
        plain, blurred = map(at_work.prepare, setup.candidates)
        for job in Planner(setup, None).plan([plain, blurred]):
            at_work.evaluate(job)

    attacked = [model for model, _ in spy]
    assert len(attacked) == 7
    assert attacked[0] is plain.model
    assert attacked[1] is blurred.model  # the transfer to vanilla comes from the only other one
    assert [type(part).__name__ for part in attacked[2:4]] == ["Pipeline"] * 2  # two of ViRoLBI's surrogate gradients
    assert attacked[4] is blurred.model
    assert attacked[5] is plain.model
    assert attacked[6].model is blurred.model


def test_a_transfer_is_scored_on_the_target_and_known_by_its_source(small: RunConfig, cache: ArrayCache) -> None:
    chosen = dataclasses.replace(small, defenses=("vanilla", "blur"), suites=("adversarial:threats=bare/transfer",))

    first = run(chosen, cache)
    again = run(chosen, cache)
    alone = run(dataclasses.replace(chosen, defenses=("blur",)), cache)

    assert first == Outcome(evaluated=8, skipped=0, failed=0)
    assert again.evaluated == 0
    assert alone == Outcome(evaluated=0, skipped=2, failed=0)  # nobody else to attack: no transfer
    with Records.open(chosen.out) as records:
        frame = records.frame()
    sources = frame[frame.threat == "transfer"].groupby("defense").transfer_from.first().to_dict()
    assert sources == {"vanilla": "blur", "blur": "vanilla"}


def test_what_is_made_on_one_source_is_shown_to_all_it_is_meant_for(
    small: RunConfig, cache: ArrayCache, tmp_path: Path, spy
) -> None:
    run(dataclasses.replace(small, suites=("clean",), out=tmp_path / "source"), cache)
    source = next((tmp_path / "source" / "checkpoints").glob("*.pt"))
    chosen = dataclasses.replace(
        small, attacks=("pgd",), suites=("adversarial:threats=transfer",), transfer_from=source
    )
    last_alone = dataclasses.replace(chosen, defenses=("tv_layer",))
    together = dataclasses.replace(chosen, defenses=("blur", "pni", "tv_layer"), out=tmp_path / "three")

    run(last_alone, cache)
    outcome = run(together, cache)
    run(dataclasses.replace(together, attacks=("spy",)), cache)

    assert outcome == Outcome(evaluated=6, skipped=0, failed=0)
    found, expected = recorded(together.out), recorded(last_alone.out)
    for key, predictions in expected.items():  # who else is scored on the examples does not change them
        np.testing.assert_array_equal(found[key], predictions)
    assert len(spy) == 1
    assert run(dataclasses.replace(together, out=last_alone.out), cache) == Outcome(evaluated=4, skipped=2, failed=0)


def test_only_targets_of_one_seed_and_one_measure_share_a_transfer() -> None:
    def target(seed: int = 0, std: float = 0.25, digest: str = "a") -> DefendedModel:
        return SimpleNamespace(seed=seed, model=NormalizedModel(nn.Identity(), (0.5,), (std,)), digest=digest)

    def key(model: DefendedModel, after: Condition | None = None, **parameters: object) -> tuple[str, ...]:
        condition = Condition("fgsm", parameters={"epsilon": 0.1, **parameters}, threat="transfer", after=after)
        return _transfer_key(condition, target(digest="source"), model)

    plain, bare = target(), SimpleNamespace(seed=0, model=nn.Identity(), digest="bare")
    assert key(plain) == key(target(digest="b"))
    others = [key(target(seed=1)), key(target(std=0.2)), key(plain, epsilon=0.2), key(bare)]
    assert len({key(plain), *others}) == 5
    first = Condition("first")
    assert key(plain, first) != key(target(digest="b"), first)  # what a stage left is known of one target alone


def test_the_source_may_be_a_checkpoint(small: RunConfig, cache: ArrayCache, tmp_path: Path) -> None:
    run(dataclasses.replace(small, defenses=("blur",), suites=("clean",), out=tmp_path / "source"), cache)
    checkpoint = next((tmp_path / "source" / "checkpoints").glob("*.pt"))
    chosen = dataclasses.replace(small, suites=("adversarial:threats=transfer",), transfer_from=checkpoint)

    assert run(chosen, cache) == Outcome(evaluated=2, skipped=0, failed=0)

    with Records.open(chosen.out) as records:
        assert records.frame().transfer_from.unique().tolist() == ["blur"]


def test_the_source_given_may_be_the_target_itself(small: RunConfig, cache: ArrayCache, capsys) -> None:
    chosen = dataclasses.replace(small, defenses=("vanilla", "blur"), suites=("adversarial:threats=transfer",))
    run(chosen, cache)
    checkpoint = next((small.out / "checkpoints").glob("*vanilla*.pt"))
    chosen = dataclasses.replace(chosen, transfer_from=checkpoint, out=tmp_out(small, "again"))

    outcome = run(chosen, cache)

    assert outcome == Outcome(evaluated=2, skipped=0, failed=0)
    with Records.open(chosen.out) as records:
        assert set(records.frame().defense) == {"blur"}
    assert "vanilla (seed 0) is the model of --transfer-from itself: no transfer to it" in capsys.readouterr().err


def test_a_source_of_another_backbone_is_shown_with_it(small: RunConfig, cache: ArrayCache) -> None:
    run(dataclasses.replace(small, suites=("clean",), backbone="resnet_mid", out=tmp_out(small, "source")), cache)
    checkpoint = next((tmp_out(small, "source") / "checkpoints").glob("*.pt"))
    run(dataclasses.replace(small, suites=("adversarial:threats=transfer",), transfer_from=checkpoint), cache)

    with Records.open(small.out) as records:
        assert records.frame().transfer_from.unique().tolist() == ["vanilla (resnet_mid)"]


def tmp_out(config: RunConfig, name: str) -> Path:
    return config.out.with_name(name)


def test_the_ball_is_the_targets_and_the_draws_are_the_sources(small: RunConfig, cache: ArrayCache) -> None:
    with Records.open(small.out, write=True) as records:
        setup = resolve(dataclasses.replace(small, defenses=("vanilla", "pni")), cache)
        plain, noisy = map(Runner(setup, records).prepare, setup.candidates)
        jobs = Planner(setup, None).plan([plain, noisy])

    assert {id(job.context.target) for job in jobs} == {id(plain.model), id(noisy.model)}
    draws = {(job.models[0].label, job.condition.threat, job.condition.parameters["draws"]) for job in jobs}
    assert draws == {
        ("vanilla", "bare", 1), ("vanilla", "transfer", 10), ("vanilla", "adaptive", 1),
        ("pni", "bare", 10), ("pni", "transfer", 1), ("pni", "adaptive", 10),
    }  # fmt: skip
    cells = {(job.models[0].label, job.condition.threat): planned_cell(job, job.models[0], "none").spec for job in jobs}
    assert {key for key, spec in cells.items() if "batch_size" not in spec} == {
        ("vanilla", "bare"), ("vanilla", "adaptive"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("bare.pt", "does not name its defense. --transfer-from takes those that `train` and `run` keep"),
        ("README.md", "is not a plain file of weights"),
        ("nowhere.pt", "expected a checkpoint file, found none"),
    ],
)
def test_a_source_that_is_none_is_refused_before_anything_is_trained(
    small: RunConfig, cache: ArrayCache, tmp_path: Path, source: str, expected: str
) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "bare.pt")
    (tmp_path / "README.md").write_text("words")

    with pytest.raises(UserError, match=expected):
        run(dataclasses.replace(small, transfer_from=tmp_path / source), cache)

    assert not list(small.out.rglob("*.pt"))


def test_a_model_is_not_its_own_source(small: RunConfig, cache: ArrayCache) -> None:
    models = defended_models(dataclasses.replace(small, defenses=("blur", "vanilla"), seeds=(0, 1)), cache)

    sources = [other_model(models, target) for target in models]

    assert [(other.defense.label, other.seed) for other in sources] == [
        ("vanilla", 0), ("vanilla", 1), ("vanilla", 1), ("vanilla", 0),
    ]  # fmt: skip
    assert other_model(models[:1], models[0]) is None


def test_adaptive_attacks_use_every_surrogate_gradient(small: RunConfig, cache: ArrayCache) -> None:
    run(dataclasses.replace(small, suites=("adversarial:threats=adaptive",)), cache)
    quick = ["fgsm eps=8/255", "fgsm via identity eps=8/255"]
    assert sorted(condition for *_, condition, _ in recorded(small.out)) == quick

    run(dataclasses.replace(small, suites=("adversarial:threats=adaptive,gradients=unrolled",)), cache)
    assert sorted(condition for *_, condition, _ in recorded(small.out)) == [*quick, "fgsm via unrolled eps=8/255"]

    context = SuiteContext(dataset=DATASET, split=None, seed=0, surrogates=("bpda", "identity", "unrolled"))
    found = suites.create("adversarial:threats=adaptive,attacks=fgsm").conditions(context)
    assert {condition.parameters["gradient"] for condition in found} == {"bpda", "identity", "unrolled"}


def test_a_surrogate_gradient_may_be_chosen_and_an_unknown_one_is_refused(small: RunConfig, cache: ArrayCache) -> None:
    suite = "adversarial:threats=adaptive,gradients=identity"
    assert run(dataclasses.replace(small, suites=(suite,)), cache).evaluated == 1
    assert run(dataclasses.replace(small, defenses=("blur",), suites=(suite,)), cache).evaluated == 1
    wrong = dataclasses.replace(small, defenses=("blur",), suites=("masking:gradient=bpda",), out=tmp_out(small, "no"))
    with pytest.raises(UserError, match="gradient must be one of the preprocessor's exact, got bpda"):
        run(wrong, cache)
    assert not (wrong.out / "checkpoints").exists()  # refused before it was trained
    with pytest.raises(UserError, match=r"unknown gradient 'straight'.*Known: bpda, exact, identity, unrolled"):
        run(dataclasses.replace(small, suites=("adversarial:gradients=straight",)), cache)


# What is said of a cell


def test_an_attacks_flags_are_kept_with_the_cell(small: RunConfig, cache: ArrayCache, register) -> None:
    class Doubtful(Spy):
        def __call__(self, *given, **more):
            return AttackResult(super().__call__(*given, **more), flags=("something is odd",))

    register(attacks, "spy", Doubtful)
    run(dataclasses.replace(small, attacks=("spy",), suites=("adversarial:threats=bare", "clean")), cache)

    with Records.open(small.out) as records:
        frame = records.frame()
    flagged = frame.details.str.contains("something is odd")
    assert flagged[frame.suite.str.startswith("adversarial")].all()
    assert not flagged[frame.suite == "clean"].any()


def test_the_preprocessing_can_be_chosen_for_any_defense(small: RunConfig, cache: ArrayCache) -> None:
    chosen = dataclasses.replace(small, defenses=("vanilla", "blur"), suites=("clean",), preprocess="virolbi:nu=4")

    run(chosen, cache)

    with Records.open(chosen.out) as records:
        found = records.frame()
    assert set(found.preprocess) == {"none", "virolbi:nu=4"}
    assert (found.preprocess == "virolbi:nu=4").sum() == 2


class Doubling(Preprocessor):
    """A preprocessor of two surrogate gradients."""

    surrogates = ("one", "two")

    def with_surrogate(self, name: str):
        return self


def test_a_defenses_surrogates_come_from_its_preprocessor(small: RunConfig, cache: ArrayCache, register) -> None:
    class Doubled(Defense):
        """Plain training."""

        def preprocess(self, default: str) -> str:
            return "doubling"

    register(preprocessors, "doubling", Doubling)
    register(defenses, "doubled", Doubled)
    run(dataclasses.replace(small, defenses=("doubled",), suites=("adversarial:threats=adaptive",)), cache)

    assert sorted(condition for *_, condition, _ in recorded(small.out)) == [
        "fgsm eps=8/255",
        "fgsm via two eps=8/255",
    ]
