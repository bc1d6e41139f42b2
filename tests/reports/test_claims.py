"""The claims: per-image differences, verdicts, their correction, and what is said where nothing was run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from support.report_samples import N, Recording

from harness.errors import UserError
from harness.metrics import bootstrap_difference, holm, wilson
from harness.registry import tables
from reports.paper.comparisons import CLAIMS, MODELS, NOISE
from reports.tables.engine.base import Finding

FIRST, THIRD, FOURTH, FIFTH, SIXTH = (CLAIMS[place].text for place in (0, 2, 3, 4, 5))


def generator():
    return np.random.default_rng(0)


# The difference and its test


def test_the_interval_of_a_mean_difference_is_that_of_the_paired_normal():
    differences = np.random.default_rng(1).choice([-1.0, 0.0, 0.5, 1.0], size=4000, p=[0.1, 0.6, 0.1, 0.2])

    found = bootstrap_difference(differences, generator())

    half = norm.ppf(0.975) * differences.std() / math.sqrt(len(differences))
    assert found.mean == pytest.approx(differences.mean())
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.002)


@pytest.mark.parametrize(("claimed", "bound"), [((0, math.inf), 0), ((-math.inf, 0), 0), ((-0.3, 0.04), 0.04)])
def test_the_p_value_is_that_of_a_paired_z_test_against_the_nearer_bound(claimed, bound):
    differences = np.repeat([-1.0, 0.0, 1.0], [20, 350, 30])

    found = bootstrap_difference(differences, generator(), claimed=claimed)

    error = differences.std() / math.sqrt(400)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(differences.mean() - bound) / error))


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    draw = np.random.default_rng(2)
    trials = [bootstrap_difference(draw.choice([-1.0, 0, 1], 200, p=[0.1, 0.7, 0.2]), draw) for _ in range(400)]

    covered = np.mean([found.low <= 0.1 <= found.high for found in trials])
    assert 0.92 <= covered <= 0.98


def test_images_that_never_differ_leave_an_interval_with_a_width():
    found = bootstrap_difference(np.zeros(50), generator())

    unseen = wilson(0, 50).high
    assert found == (0.0, -unseen, unseen, 1.0)


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros((2, 2)), np.array([1.5]), np.array([math.nan])])
def test_what_is_no_difference_is_refused(values):
    with pytest.raises(UserError, match="differences"):
        bootstrap_difference(values, generator())


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(UserError, match="rising bounds"):
        bootstrap_difference(np.zeros(3), generator(), claimed=(1, 0))


# The table


def right(share):
    return np.arange(N) < share * N


def score(recording, correct, **given):
    recording.add(correct.mean(), **given)
    recording.outcomes[recording.rows[-1]["identity"]] = correct


def noisy(shares, seeds=(0,), noises=NOISE):
    """shares: by defense, right without and with preprocessing; the same images are the hard ones for all."""
    recording = Recording()
    for defense, pair in shares.items():
        for share, preprocess in zip(pair, ("none", "blur" if defense == "blur" else "virolbi"), strict=True):
            for seed in seeds:
                for noise in noises:
                    named = {"suite": "corruption", "condition": noise, "severity": 3, "source": "official"}
                    score(recording, right(share), defense=defense, preprocess=preprocess, seed=seed, **named)
    return recording


def found(recording):
    """By claim and comparison, the finding of the first column."""
    return {row.labels: row.entries[0] for row in recording.table("claims").rows}


def verdict(recording, claim):
    return found(recording)[claim, "verdict"].verdict


def test_a_claim_over_every_model_holds_when_it_does_for_each():
    recording = noisy(dict.fromkeys(MODELS, (0.4, 0.7)))

    assert verdict(recording, FIRST) == "holds"
    assert found(recording)[FIRST, "blur: with − without"].verdict == "holds"
    assert found(recording)[FIRST, "verdict"].evidence == "holds 5"


def test_one_counterexample_is_enough():
    recording = noisy({**dict.fromkeys(MODELS, (0.4, 0.7)), "blur": (0.7, 0.4)})

    assert found(recording)[FIRST, "verdict"] == Finding(verdict="does not hold", evidence="holds 4, does not hold 1")


def test_a_difference_within_chance_is_undecided():
    recording = noisy({**dict.fromkeys(MODELS, (0.4, 0.7)), "blur": (0.5, 0.505)})

    assert verdict(recording, FIRST) == "undecided"


def test_what_was_not_run_keeps_a_claim_from_holding_outright():
    recording = noisy({"vanilla": (0.4, 0.7), "blur": (0.4, 0.7)})

    assert found(recording)[FIRST, "verdict"] == Finding(
        verdict="holds where run", evidence="holds 2, not run 3 (tv_layer, virolbi_fixed, virolbi_iterative)"
    )


def test_a_claim_of_which_nothing_was_run_says_what_to_run():
    results = found(noisy({"vanilla": (0.4, 0.7)}))

    assert results[FIFTH, "verdict"].verdict == "not run"
    assert results[FIFTH, "verdict"].evidence.startswith("needs --suite low_resolution --defense vanilla,virolbi_fixed")
    assert not [labels for labels in results if labels[0] == FIFTH and labels[1] != "verdict"]


def test_nothing_that_bears_on_a_claim_is_no_table():
    recording = Recording()
    recording.add()

    assert tables.create("claims").build(recording.cells()) is None


def test_the_side_that_is_claimed_may_be_the_lower_one():
    lower = noisy({"vanilla": (0.7, 0.7), "virolbi_fixed": (0.4, 0.4), "virolbi_iterative": (0.4, 0.4)})
    higher = noisy({"vanilla": (0.4, 0.7), "virolbi_fixed": (0.7, 0.4), "virolbi_iterative": (0.7, 0.4)})

    assert (verdict(lower, THIRD), verdict(higher, THIRD)) == ("holds", "does not hold")


@pytest.mark.parametrize(
    ("shares", "expected"), [((0.8, 0.8), "holds"), ((0.8, 0.7), "does not hold"), ((0.8, 0.789), "undecided")]
)
def test_within_a_point_is_neither_more_nor_less(shares, expected):
    recording = Recording()
    images = 4000
    for defense, share in zip(("vanilla", "virolbi_fixed:level=0.8"), shares, strict=True):
        correct = np.arange(images) < share * images
        score(recording, correct, defense=defense, n_images=images)
    result = found(recording)[FOURTH, "virolbi_fixed:level=0.8 − vanilla"]

    assert result.verdict == expected


def test_one_condition_is_tested_by_mcnemar_and_all_are_corrected_together():
    recording = Recording()
    rights = {"vanilla": right(0.5), "virolbi_fixed": right(0.6), "blur": right(0.6) ^ (np.arange(N) >= N - 3)}
    for defense, correct in rights.items():
        score(recording, correct, defense=defense, suite="frequency", condition="low r=6")

    results = found(recording)

    p = holm([binomtest(0, 20).pvalue, binomtest(0, 3).pvalue])
    fixed, blur = (results[SIXTH, f"{a} − {b}"] for a, b in (("virolbi_fixed", "vanilla"), ("blur", "virolbi_fixed")))
    assert (fixed.verdict, blur.verdict) == ("holds", "undecided")
    assert fixed.evidence.startswith("+10.0 [")
    assert fixed.evidence.endswith("], McNemar p<0.001, n=200")
    assert p[0] < 0.001
    assert blur.evidence.endswith(f"], McNemar p={p[1]:.3f}, n=200")


def test_what_would_hold_alone_is_undecided_among_several_comparisons():
    recording = Recording()
    fixed = right(0.5) ^ (np.arange(N) < 1) ^ (np.arange(N) >= N - 8)
    rights = {"vanilla": right(0.5), "virolbi_fixed": fixed, "blur": fixed ^ (np.arange(N) < 3) ^ (np.arange(N) == 99)}
    for defense, correct in rights.items():
        score(recording, correct, defense=defense, suite="frequency", condition="low r=6")

    finding = found(recording)[SIXTH, "virolbi_fixed − vanilla"]

    assert binomtest(1, 9).pvalue == pytest.approx(0.039, abs=5e-4)
    assert finding.verdict == "undecided"
    assert finding.evidence.endswith("McNemar p=0.078, n=200")
    assert finding.evidence.startswith("+3.5 [+1.0, ")


def test_a_verdict_depends_on_no_other_claim_and_no_other_column():
    alone = noisy({"vanilla": (0.5, 0.54)})
    beside = noisy({"vanilla": (0.5, 0.54)})
    for backbone, suite in (("resnet18", "low_resolution"), ("vit_tiny", "corruption")):
        for defense in ("vanilla", "virolbi_fixed", "virolbi_iterative"):
            score(beside, right(0.5), defense=defense, suite=suite, backbone=backbone, condition="shot_noise")

    name = FIRST, "vanilla: with − without"
    assert found(beside)[FIFTH, "virolbi_fixed − vanilla"].verdict == "undecided"
    assert len(beside.table("claims").columns) == 2
    assert found(beside)[name] == found(alone)[name]


def test_conditions_weigh_the_same():
    recording = noisy({"vanilla": (0.5, 0.5)})
    for noise, share in zip(NOISE, (0.5, 0.4, 0.3), strict=True):
        named = {"suite": "corruption", "condition": noise, "severity": 3, "source": "official"}
        score(recording, right(share), defense="virolbi_fixed", **named)

    evidence = found(recording)[THIRD, "virolbi_fixed − vanilla"].evidence

    assert evidence.startswith("−10.0 [")
    assert "bootstrap p<0.001" in evidence


def test_seeds_are_pooled_by_their_images_mean_difference():
    recording = noisy({"vanilla": (0.5, 0.5), "virolbi_fixed": (0.4, 0.5), "virolbi_iterative": (0.4, 0.5)}, seeds=(0,))
    more = noisy({"vanilla": (0.5, 0.5), "virolbi_fixed": (0.5, 0.5)}, seeds=(1,))
    for row in more.rows:
        score(
            recording, more.outcomes[row["identity"]], **{k: row[k] for k in row if k not in ("identity", "n_correct")}
        )

    results = found(recording)

    assert results[THIRD, "virolbi_fixed − vanilla"].evidence.startswith("−5.0 [")
    assert results[THIRD, "virolbi_iterative − vanilla"].evidence.startswith("−10.0 [")


def test_only_conditions_that_both_sides_have_are_compared():
    recording = noisy({"vanilla": (0.5, 0.5)})
    fixed = {"suite": "corruption", "condition": "shot_noise", "severity": 3, "source": "official"}
    score(recording, right(0.3), defense="virolbi_fixed", **fixed)
    score(recording, right(0.9), defense="virolbi_fixed", **{**fixed, "severity": 5})

    assert found(recording)[THIRD, "virolbi_fixed − vanilla"].evidence.startswith("−20.0 [")


def test_another_coupling_is_not_the_papers_claim():
    recording = noisy({"vanilla": (0.7, 0.7), "virolbi_fixed:nu=16,level=0.5": (0.4, 0.4)})

    assert found(recording)[THIRD, "verdict"].verdict == "not run"


def test_robust_is_the_worst_case_over_the_attacks_that_both_sides_met():
    recording = Recording()
    for threat, preprocess, attacks in (
        ("bare", "none", {"fgsm": 0.3, "pgd": 0.1}),
        ("bare", "virolbi", {"fgsm": 0.6, "pgd": 0.5, "square": 0.0}),
        ("adaptive", "virolbi", {"fgsm": 0.2, "pgd": 0.05}),
    ):
        for attack, share in attacks.items():
            recording.attack(share, attack, threat=threat, preprocess=preprocess)
            recording.outcomes[recording.rows[-1]["identity"]] = right(share)

    results = found(recording)

    bare, left = (results[claim.text, "vanilla: with − without"] for claim in CLAIMS[6:])
    assert bare.evidence.startswith("+40.0 [")
    assert left.evidence.startswith("−5.0 [")
    assert (bare.verdict, left.verdict) == ("holds", "does not hold")


def test_robust_is_said_in_the_sup_norm_alone():
    recording = Recording()
    for preprocess, share in (("none", 0.3), ("virolbi", 0.6)):
        for measured_in, left in (("Linf", share), ("L2", 0.0)):
            recording.attack(left, preprocess=preprocess, norm=measured_in, condition=f"pgd {measured_in}")
            recording.outcomes[recording.rows[-1]["identity"]] = right(left)

    assert found(recording)[CLAIMS[6].text, "vanilla: with − without"].evidence.startswith("+30.0 [")


# Which cells are taken


def test_another_preprocessing_is_not_the_papers_claim():
    """A blur before a network that is no blur defense, beside the paper's and alone."""
    both, alone = noisy({"vanilla": (0.7, 0.4)}), noisy({})
    for noise in NOISE:
        named = {"suite": "corruption", "condition": noise, "severity": 3, "source": "official"}
        score(both, right(0.9), preprocess="blur", **named)
        score(alone, right(0.4), **named)
        score(alone, right(0.9), preprocess="virolbi:nu=16", **named)

    assert found(both)[FIRST, "vanilla: with − without"].evidence.startswith("−30.0 [")
    assert tables.create("claims").build(alone.cells()) is None


@pytest.mark.parametrize("recorded", ["normalized pixel", "pixel"])
def test_epsilon_is_the_papers_where_it_was_run_and_the_caption_says_which(recorded):
    recording = Recording()
    for space, images, gain in (("normalized", N, 0.1), ("pixel", 2 * N, 0.2)):
        for preprocess, share in (("none", 0.3), ("virolbi", 0.3 + gain)):
            if space in recorded:
                recording.attack(0, preprocess=preprocess, epsilon_space=space, n_images=images)
                recording.outcomes[recording.rows[-1]["identity"]] = np.arange(images) < share * images
    recording.attack(0.3, epsilon_space="pixel", n_images=4 * N)

    first, images = ("+10.0 [", N) if "normalized" in recorded else ("+20.0 [", 2 * N)
    caption = recording.table("claims").caption
    assert found(recording)[CLAIMS[6].text, "vanilla: with − without"].evidence.startswith(first)
    assert f"ε in {recorded.split()[0]} space." in caption
    assert f"Test images: cifar10, n = {images}." in caption


def test_of_several_numbers_of_images_the_most_are_taken():
    recording = noisy({"vanilla": (0.4, 0.5)})
    for preprocess, share in (("none", 0.4), ("virolbi", 0.8)):
        named = {"suite": "corruption:limit=400", "condition": "shot_noise", "severity": 3, "source": "official"}
        correct = np.arange(2 * N) < share * 2 * N
        score(recording, correct, preprocess=preprocess, n_images=2 * N, **named)

    assert found(recording)[FIRST, "vanilla: with − without"].evidence.startswith("+40.0 [")


def test_data_sets_and_backbones_have_columns_of_their_own():
    recording = noisy(dict.fromkeys(MODELS, (0.4, 0.7)))
    score(recording, right(0.5), backbone="vit_tiny", suite="low_resolution", condition="scale=1/2")

    table = recording.table("claims")

    assert table.column_header == ("dataset", "backbone")
    assert [column.name for column in table.columns] == ["resnet18", "vit_tiny"]
    assert table.rows[0].entries[1].verdict == "not run"
    assert table.rows[1].entries[1] is None
