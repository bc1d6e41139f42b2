"""What a record says of how its images were attacked."""

from __future__ import annotations

from typing import Any

import pytest
from support.attacks import DATASET

from harness.attacks.autoattack import VERSIONS
from harness.attacks.gradient import PGD
from harness.evaluation.describe import describe_attack
from harness.suites.adversarial import Adversarial
from harness.suites.base import SuiteContext
from harness.suites.masking import Masking
from harness.types import Condition


def described(attack: str, **context: Any) -> list[dict[str, Any]]:
    """The descriptions of an attack's adaptive conditions at one radius."""
    made = SuiteContext(
        dataset=DATASET, split=None, seed=0, epsilons=(0.1,), **{"surrogates": ("bpda", "identity"), **context}
    )
    conditions = Adversarial(attacks=(attack,), threats=("adaptive",)).conditions(made)
    return [describe_attack(condition, made.surrogates[0]) for condition in conditions]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stages_of_autoattack_are_numbered_as_they_are_run(version: str) -> None:
    stages = VERSIONS[version]
    fields = described(f"autoattack:version={version}")

    assert [each["stage"] for each in fields] == list(stages)
    assert [each["stage_index"] for each in fields] == list(range(len(stages)))
    assert {each["stage_count"] for each in fields} == {len(stages)}


def test_forms_of_one_attack_for_different_models_count_as_one() -> None:
    names = ("autoattack", "autoattack:version=rand", "autoattack:version=plus", "pgd")

    assert [described(name)[0]["counts_as"] for name in names] == [
        *("autoattack", "autoattack", "autoattack:version=plus", "pgd")
    ]


def test_a_suites_own_attack_counts_as_itself() -> None:
    assert describe_attack(Condition("c", parameters={"attack": "mine"}, threat="bare"), "exact")["counts_as"] == "mine"


def test_a_surrogate_gradient_is_usual_where_the_preprocessor_names_it_first() -> None:
    fields = described("pgd")

    assert [(each["gradient"], each["usual_gradient"]) for each in fields] == [("bpda", True), ("identity", False)]


def test_without_a_preprocessor_in_between_the_gradient_is_usual() -> None:
    assert describe_attack(Condition("c", parameters={"attack": "pgd"}, threat="bare"), "bpda")["usual_gradient"]


def test_all_parameters_of_an_attack_are_described_and_those_of_the_ball_apart() -> None:
    fields = described("pgd", norm="L2")[0]

    assert fields["attack_parameters"] == PGD().parameters()
    assert (fields["epsilon"], fields["norm"]) == (0.1, "L2")


def test_an_image_that_nobody_attacks_has_no_attack() -> None:
    assert describe_attack(Condition("clean"), "exact") == {}


def test_a_suite_that_names_no_threat_may_still_have_a_radius() -> None:
    fields = describe_attack(Condition("noise", parameters={"norm": "L2", "epsilon": 0.1, "other": 1}), "exact")

    assert fields == {"norm": "L2", "epsilon": 0.1}


def test_masking_checks_are_diagnostics() -> None:
    assert Masking().purpose == "diagnostic"
