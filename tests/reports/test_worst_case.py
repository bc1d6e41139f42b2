"""Table 2 and the summary where defenses are attacked by different ways, and by AutoAttack stage by stage."""

from __future__ import annotations

import numpy as np
import pytest
from support.report_samples import N, Recording, estimates, labels

from harness.attacks.autoattack import VERSIONS
from harness.records.schema import Details
from reports import build

ADAPTIVE = {"threat": "adaptive", "defense": "virolbi_fixed", "preprocess": "virolbi", "gradient": "bpda"}
EXACT = {**ADAPTIVE, "defense": "blur", "preprocess": "blur", "gradient": "exact"}
IDENTITY = {**ADAPTIVE, "gradient": "identity", "condition": "pgd via identity eps=8/255"}


def autoattack(recording: Recording, *left: float, version: str = "standard", **given) -> None:
    """As many of its stages as there are accuracies left by them."""
    name = "autoattack" if version == "standard" else f"autoattack:version={version}"
    for stage, accuracy in zip(VERSIONS[version], left, strict=False):
        recording.attack(accuracy, name, stage=stage, condition=f"{name} {stage} eps=8/255", **given)


def values(table, *wanted):
    return [None if entry is None else round(entry.value, 6) for entry in estimates(table, *wanted)]


# By several ways


def test_a_defense_with_one_way_through_lacks_nothing_beside_one_with_several():
    recording = Recording()
    for attack in ("fgsm", "pgd"):
        recording.attack(0.2, attack, **EXACT)
        recording.attack(0.1, attack, **ADAPTIVE)
        recording.attack(0.1, attack, **{**IDENTITY, "condition": f"{attack} via identity eps=8/255"})

    for table, row in (("table2", "worst case"), ("summary", "robust, adaptive, 8/255 normalized")):
        blur, fixed = estimates(recording.table(table), row)
        assert [(entry.conditions, entry.expected) for entry in (blur, fixed)] == [(2, 2), (4, 4)]
        assert (blur.best, fixed.best) == (True, False)


def test_an_attack_that_only_others_were_put_through_is_missing():
    recording = Recording()
    recording.attack(0.2, "fgsm", **EXACT)
    for given in (ADAPTIVE, IDENTITY):
        recording.attack(0.1, **given)
    recording.attack(0.1, "fgsm", **ADAPTIVE)

    blur, fixed = estimates(recording.table("table2"), "worst case")

    assert [(entry.conditions, entry.expected) for entry in (blur, fixed)] == [(1, 2), (3, 3)]


def test_a_way_that_others_were_gone_through_behind_the_same_preprocessing_is_missing():
    recording = Recording()
    for given in (EXACT, ADAPTIVE, IDENTITY, {**ADAPTIVE, "defense": "vanilla"}):
        recording.attack(0.2, **given)

    found = estimates(recording.table("table2"), "worst case")

    assert [(entry.conditions, entry.expected) for entry in found] == [(1, 2), (1, 1), (2, 2)]


def test_one_attack_by_two_ways_has_a_worst_case():
    recording = Recording()
    for given in (ADAPTIVE, IDENTITY):
        recording.attack(0.4, **given)
    survived = np.logical_and(*recording.outcomes.values())

    table = recording.table("table2")

    assert values(table, "worst case") == [pytest.approx(100 * survived.mean())]
    assert [label[-1] for label in labels(table)] == ["pgd", "pgd via identity", "worst case"]


# AutoAttack


def test_autoattack_is_one_row_what_its_last_stage_left():
    recording = Recording()
    autoattack(recording, 0.5, 0.4, 0.35, 0.3, **ADAPTIVE)
    autoattack(recording, 0.2, 0.15, 0.1, 0.05, **EXACT)

    table = recording.table("table2")

    assert [label[-1] for label in labels(table)] == ["autoattack"]
    assert values(table, "autoattack") == [5.0, 30.0]
    assert [entry.best for entry in estimates(table, "autoattack")] == [False, True]
    assert "autoattack: what its last attack left" in " ".join(table.caption)


@pytest.mark.parametrize("version", VERSIONS)
def test_its_stages_are_shown_on_request_in_the_order_of_its_version(version):
    recording = Recording()
    left = np.linspace(0.6, 0.3, len(VERSIONS[version]))
    autoattack(recording, *left, version=version, **ADAPTIVE)

    (table,) = build(recording.cells(), ["table2:stages=true"])

    name = recording.rows[0]["attack"]
    before = [f"{name} after {stage}" for stage in VERSIONS[version][:-1]]
    assert [label[-1] for label in labels(table)] == [*before, name]
    assert [row.entries[0].value for row in table.rows] == pytest.approx(100 * left)


def test_an_unfinished_evaluation_is_named_by_how_far_it_came():
    recording = Recording()
    autoattack(recording, 0.5, 0.4, **ADAPTIVE)
    autoattack(recording, 0.2, 0.15, 0.1, 0.05, **EXACT)
    for given in (ADAPTIVE, EXACT):
        recording.attack(0.3, **given)

    table = recording.table("table2")

    assert [label[-1] for label in labels(table)] == ["autoattack after apgd-t", "autoattack", "pgd", "worst case"]
    assert values(table, "autoattack") == [5.0, None]
    assert values(table, "autoattack after apgd-t") == [None, 40.0]
    blur, fixed = estimates(table, "worst case")
    assert [(entry.conditions, entry.expected) for entry in (blur, fixed)] == [(2, 2), (1, 2)]


def test_the_summary_says_that_an_evaluation_is_unfinished():
    recording = Recording()
    autoattack(recording, 0.5, 0.4, **ADAPTIVE)

    (row,) = recording.table("summary").rows

    assert (row.entries[0].value, row.entries[0].complete) == (pytest.approx(40.0), False)


def test_the_worst_case_takes_the_result_of_autoattack_not_its_stages():
    recording = Recording()
    given = {"preprocess": "virolbi", "defense": "virolbi_fixed"}
    autoattack(recording, 0.5, 0.5, 0.5, 0.5, **given)  # made on the bare network: any image may be among these

    (row,) = recording.table("summary").rows

    assert row.entries[0].value == 50.0


def test_a_finished_seed_is_preferred_to_one_that_was_interrupted():
    recording = Recording()
    autoattack(recording, 0.5, seed=0, **ADAPTIVE)
    autoattack(recording, 0.5, 0.4, 0.35, 0.3, seed=1, **ADAPTIVE)

    (row,) = recording.table("summary").rows

    assert (row.entries[0].value, row.entries[0].seeds) == (pytest.approx(30.0), 1)


def test_the_version_for_random_models_counts_as_the_standard_one_does():
    recording = Recording()
    autoattack(recording, 0.2, 0.15, 0.1, 0.05, **EXACT)
    autoattack(recording, 0.5, 0.4, version="rand", **{**ADAPTIVE, "defense": "pni"})

    blur, pni = estimates(recording.table("table2"), "worst case")

    assert [(entry.conditions, entry.expected) for entry in (blur, pni)] == [(1, 1), (1, 1)]
    assert pni.best


def test_paired_tests_compare_the_results_of_autoattack():
    recording = Recording()
    for defense, version, count in (("vanilla", "standard", 80), ("pni", "rand", 120)):
        autoattack(recording, *[0.6] * len(VERSIONS[version]), version=version, defense=defense)
        recording.outcomes[recording.rows[-1]["identity"]] = np.arange(N) < count

    (row,) = recording.table("paired").rows

    assert row.entries[0].verdict == "+20.0*"


def test_what_attacks_warned_of_is_in_the_caption():
    recording = Recording()
    for defense, flags in (("pni", ["it seems random", "use rand"]), ("blur", ["it seems random"]), ("vanilla", [])):
        details = Details(flags=tuple(flags))
        given = {"attack": "autoattack", "defense": defense}
        recording.attack(0.4, stage="apgd-ce", condition="autoattack apgd-ce eps=8/255", details=details, **given)
        recording.attack(0.3, stage="square", condition="autoattack square eps=8/255", **given)

    caption = " ".join(recording.table("table2").caption)

    assert "Warnings of attacks: “it seems random” for blur, pni; “use rand” for pni." in caption
