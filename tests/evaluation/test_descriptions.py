"""What a record says of how its images were attacked."""

from __future__ import annotations

from typing import Any

import pytest

from harness.attacks.autoattack import VERSIONS
from harness.attacks.gradient import PGD
from harness.evaluation.jobs import describe_attack
from harness.suites.masking import Masking
from harness.types import Condition


def described(attack: str, surrogates: tuple[str, ...] = ("bpda", "identity"), **parameters: Any) -> dict[str, Any]:
    return describe_attack(Condition("c", parameters={"attack": attack, **parameters}, threat="adaptive"), surrogates)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stages_of_autoattack_are_numbered_as_they_are_run(version: str) -> None:
    stages = VERSIONS[version]
    fields = [described(f"autoattack:version={version}", stage=stage) for stage in stages]

    assert [each["stage_index"] for each in fields] == list(range(len(stages)))
    assert {each["stage_count"] for each in fields} == {len(stages)}


def test_forms_of_one_attack_for_different_models_count_as_one() -> None:
    names = ("autoattack", "autoattack:version=rand", "autoattack:version=plus", "pgd", "mine")

    assert [described(name)["counts_as"] for name in names] == [
        *("autoattack", "autoattack", "autoattack:version=plus"),
        *("pgd", "mine"),
    ]


@pytest.mark.parametrize(("gradient", "usual"), [("bpda", True), ("identity", False), ("", True)])
def test_a_surrogate_gradient_is_usual_where_the_preprocessor_names_it_first(gradient: str, usual: bool) -> None:
    assert described("pgd", gradient=gradient)["usual_gradient"] is usual


def test_all_parameters_of_an_attack_are_described_and_those_of_the_ball_apart() -> None:
    fields = described("pgd", **PGD().parameters(), epsilon=0.5, norm="L2")

    assert fields["attack_parameters"] == PGD().parameters()
    assert (fields["epsilon"], fields["norm"]) == (0.5, "L2")


def test_masking_checks_are_diagnostics() -> None:
    assert Masking().purpose == "diagnostic"
