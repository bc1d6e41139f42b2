"""Tables about attacks: masking checks, paired tests, corruption errors; each number against one worked out here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from support.report_samples import N, Recording, estimates, labels, masking

from harness.errors import UserError
from harness.metrics import holm, mean_corruption_error
from harness.registry import tables
from reports.formats.latex import to_latex
from reports.formats.render import to_csv, to_markdown
from reports.tables.engine.base import Finding
from reports.tables.mce import ALEXNET


def verdicts(recording: Recording) -> dict[str, Finding]:
    return {row.labels[-1]: row.entries[0] for row in recording.table("masking").rows}


def test_an_honest_defense_passes_every_check():
    found = verdicts(masking())

    assert {name: finding.verdict for name, finding in found.items()} == dict.fromkeys(found, "pass")
    assert len(found) == 7
    assert found["nothing left at large ε"].evidence == "0.0 % left at 128/255"
    assert found["white box ≤ black box"].evidence == "white box 9.0 %, Square 20.0 % at 8/255"
    assert found["more effort, same answer"].evidence == "PGD-20 10.0 %, apgd 9.0 %"


@pytest.mark.parametrize(
    ("check", "given"),
    [
        ("nothing left at large ε", {"changes": {("pgd", 128): 0.06}}),
        ("many steps ≤ one step", {"changes": {("pgd", 1): 0.7}}),
        ("white box ≤ black box", {"changes": {("square:queries=1000", 8): 0.03}}),
        ("white box ≤ transfer", {"transfer": 0.02}),
        ("more effort, same answer", {"changes": {("pgd:steps=100,restarts=5", 8): 0.02}}),
        ("there is a gradient", {"measures": (0.3, 0.5, 0.97)}),
        ("it leads uphill", {"measures": (0.0, 0.0, 0.6)}),
    ],
)
def test_each_check_can_be_failed(check, given):
    found = verdicts(masking(**given))

    assert found[check].verdict == "FAIL"


def test_a_difference_within_chance_fails_nothing():
    found = verdicts(masking({("pgd", 1): 0.61, ("square:queries=1000", 8): 0.085}))

    assert {finding.verdict for finding in found.values()} == {"pass"}


def test_what_was_not_run_is_blank_and_alone_makes_no_table():
    recording = masking()
    keep = [row["attack"] in ("fgsm", "pgd") and row["threat"] == "adaptive" for row in recording.rows]
    recording.rows = [row for row, kept in zip(recording.rows, keep, strict=True) if kept]

    assert set(verdicts(recording)) == {"nothing left at large ε", "many steps ≤ one step", "white box ≤ transfer"}
    other = Recording()
    other.add()
    assert tables.create("masking").build(other.cells()) is None


def test_a_check_that_needs_another_network_says_so_where_there_is_none():
    recording = masking()
    recording.rows = [row for row in recording.rows if row["threat"] == "adaptive"]

    found = verdicts(recording)

    assert found["white box ≤ transfer"] == Finding(
        verdict="not run", evidence="needs another network: --transfer-from"
    )
    assert {finding.verdict for name, finding in found.items() if name != "white box ≤ transfer"} == {"pass"}


def test_the_checks_stay_out_of_the_other_tables():
    recording = masking()
    recording.add(0.8)

    assert [row.labels[1] for row in recording.table("summary").rows] == ["clean accuracy"]
    assert tables.create("table2").build(recording.cells()) is None


def test_findings_are_shown_in_every_format():
    table = masking({("pgd", 128): 0.5}).table("masking")

    assert "| FAIL<br>50.0 % left at 128/255 |" in to_markdown(table)
    assert "resnet18,0,with,nothing left at large ε," in to_csv(table)
    assert "verdict,evidence\n" in to_csv(table)
    assert ",FAIL,50.0 % left at 128/255\n" in to_csv(table)
    assert r"\stacked{FAIL\\50.0 \% left at 128/255}" in to_latex(table)


# Table 2 and its threats


def test_ways_stages_and_sources_are_told_apart():
    recording = Recording()
    adaptive = {"threat": "adaptive", "preprocess": "virolbi"}
    recording.attack(0.2, gradient="bpda", **adaptive)
    recording.attack(0.3, gradient="unrolled", condition="pgd via unrolled eps=8/255", **adaptive)
    for stage, left in (("square", 0.1), ("fab-t", 0.2), ("apgd-t", 0.3), ("apgd-ce", 0.4)):
        given = {"stage": stage, "condition": f"autoattack {stage} eps=8/255", **adaptive}
        recording.attack(left, attack="autoattack", **given)
    recording.attack(0.4, threat="transfer", transfer_from="blur")

    table = recording.table("table2")

    assert [label[2:] for label in labels(table)] == [
        ("transfer", "without", "pgd"),
        ("transfer", "without", "worst case"),
        ("adaptive", "with", "autoattack"),
        ("adaptive", "with", "pgd"),
        ("adaptive", "with", "pgd via unrolled"),
        ("adaptive", "with", "worst case"),
    ]
    caption = " ".join(table.caption)
    assert "Transferred from: blur for vanilla." in caption
    assert "the last iterations differentiated (via unrolled) for virolbi" in caption
    assert "BPDA through the frozen partition for virolbi" in caption
    assert "gets the images that those before it did not fool" in caption
    assert estimates(table, "autoattack")[0].value == 10.0


def test_the_usual_way_through_each_preprocessing_shares_a_row():
    recording = Recording()
    for defense, gradient in (("vanilla", "bpda"), ("blur", "exact")):
        recording.attack(0.2, defense=defense, threat="adaptive", preprocess="virolbi", gradient=gradient)

    (row,) = recording.table("table2").rows

    assert None not in row.entries


# Paired tests


def paired(right: dict[str, np.ndarray], **given) -> Recording:
    recording = Recording()
    for defense, correct in right.items():
        recording.add(correct.mean(), defense=defense, **given)
        recording.outcomes[recording.rows[-1]["identity"]] = correct
    return recording


def test_an_attack_is_one_row_however_each_defense_is_gone_through():
    recording = Recording()
    for defense, preprocess, gradient in (("vanilla", "virolbi", "bpda"), ("blur", "blur", "exact")):
        recording.attack(0.2, threat="adaptive", defense=defense, preprocess=preprocess, gradient=gradient)

    (row,) = recording.table("table2").rows

    assert None not in row.entries


def test_a_paired_test_is_mcnemars_corrected():
    images = np.arange(N)
    right = {"vanilla": images < 100, "blur": (images < 90) | (images >= 180), "pni": images < 102}
    recording = paired(right)

    table = recording.table("paired")

    blur, pni = table.rows[0].entries
    p = [binomtest(20, 30).pvalue, binomtest(2, 2).pvalue]
    corrected = [min(1, 2 * min(p)), max(min(1, 2 * min(p)), max(p))]
    assert blur == Finding(verdict="+5.0", evidence=f"20 : 10, p = {corrected[0]:.3f}")
    assert pni == Finding(verdict="+1.0", evidence=f"2 : 0, p = {corrected[1]:.3f}")


def test_a_star_marks_what_is_significant():
    images = np.arange(N)

    table = paired({"vanilla": images < 100, "blur": images < 150}).table("paired")

    assert table.rows[0].entries[0] == Finding(verdict="+25.0*", evidence="50 : 0, p < 0.001")


def test_robust_accuracies_are_paired_on_the_attacks_all_were_run_under():
    images = np.arange(N)
    recording = Recording()
    for defense, attack, right in (
        ("vanilla", "pgd", images < 80),
        ("vanilla", "fgsm", images < 150),
        ("blur", "pgd", images < 120),
        ("blur", "fgsm", images < 110),
        ("blur", "apgd", images < 10),
    ):
        recording.attack(right.mean(), attack, defense=defense)
        recording.outcomes[recording.rows[-1]["identity"]] = right

    (row,) = recording.table("paired").rows

    assert row.labels[2:] == ("robust, bare, 8/255 normalized", "without")
    assert row.entries[0].verdict == "+15.0*"


def test_without_the_baseline_there_is_nothing_to_compare():
    recording = paired({"blur": np.arange(N) < 100})

    assert tables.create("paired").build(recording.cells()) is None
    assert tables.create("paired:baseline=blur").build(
        paired({"blur": np.arange(N) < 9, "pni": np.arange(N) < 9}).cells()
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]), ([0.6, 0.7], [1.0, 1.0]), ([], []), ([0.2], [0.2])],
)
def test_holms_correction_of_worked_examples(given, expected):
    assert holm(given) == pytest.approx(expected)


# Corruption errors


def test_the_corruption_error_is_relative_corruption_by_corruption():
    recording = Recording()
    for defense, noise, blur in (("vanilla", 0.6, 0.8), ("pni", 0.8, 0.7)):
        for severity in (1, 2):
            for condition, accuracy in (("gaussian_noise", noise), ("defocus_blur", blur)):
                recording.add(
                    accuracy - 0.1 * severity,
                    defense=defense,
                    suite="corruption",
                    condition=condition,
                    severity=severity,
                )

    (row,) = recording.table("mce").rows

    errors = {"gaussian_noise": 0.35, "defocus_blur": 0.45}, {"gaussian_noise": 0.55, "defocus_blur": 0.35}
    expected = 100 * np.mean([errors[0][name] / errors[1][name] for name in errors[0]])
    assert row.labels[1:] == ("0", "without", "vanilla")
    assert row.entries[0].verdict == "100.0"
    assert float(row.entries[1].verdict) == pytest.approx(expected, abs=0.06)
    low, high = map(float, row.entries[1].evidence.split("]")[0].strip("[").split(", "))
    assert low < expected < high
    assert row.entries[1].evidence.endswith("2 corruptions")


def imagenet_c(**changes) -> Recording:
    """Half of all images right under every corruption and severity, but for what is changed."""
    recording = Recording()
    given = {"family": "imagenet", "suite": "corruption", "source": "official", **changes}
    severities = given.pop("severities", range(1, 6))
    for condition in given.pop("conditions", ALEXNET):
        for severity in severities:
            recording.add(0.5, condition=condition, severity=severity, **given)
    return recording


def test_official_imagenet_c_is_relative_to_alexnet_too():
    found = {row.labels[-1]: row.entries[0].verdict for row in imagenet_c().table("mce").rows}

    expected = np.mean([100 * 0.5 / error for error in ALEXNET.values()])
    assert found == {"vanilla": "100.0", "AlexNet": f"{expected:.1f}"}


@pytest.mark.parametrize(
    "changes",
    [
        {"family": "imagenet100"},
        {"source": "generated"},
        {"conditions": [name for name in ALEXNET if name != "fog"]},
        {"conditions": [*ALEXNET, "spatter"]},
        {"severities": (1, 2)},
    ],
)
def test_alexnet_is_no_baseline_for_anything_else(changes):
    assert [row.labels[-1] for row in imagenet_c(**changes).table("mce").rows] == ["vanilla"]


def test_a_baseline_without_errors_gives_no_number():
    recording = Recording()
    recording.add(1.0, suite="corruption", condition="snow", severity=1)

    assert tables.create("mce").build(recording.cells()) is None
    with pytest.raises(UserError, match="the baseline makes no error on snow"):
        mean_corruption_error({"snow": 0.1}, {"snow": 0.0})
    with pytest.raises(UserError, match=r"expected errors of the corruptions \['fog'\], got those of \['snow'\]"):
        mean_corruption_error({"snow": 0.1}, {"fog": 0.2})
