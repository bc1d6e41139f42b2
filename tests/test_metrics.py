import doctest
import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import t as student_t

from harness import metrics
from harness.errors import UserError
from harness.metrics import accuracy, bootstrap_mean, mcnemar, mean_and_std, robust_correct, student, wilson


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
@settings(max_examples=100, deadline=None)
def test_wilson_agrees_with_scipy(counts, confidence):
    n_correct, n = counts

    interval = wilson(n_correct, n, confidence)

    expected = binomtest(n_correct, n).proportion_ci(confidence, method="wilson")
    assert interval == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("n", [1, 7, 10_000])
def test_wilson_ends_exactly_at_the_bounds_and_still_has_a_width(n):
    none, every = wilson(0, n), wilson(n, n)

    assert none.low == 0.0 < none.high
    assert every.high == 1.0 > every.low


@pytest.mark.parametrize(("n_correct", "n", "confidence"), [(0, 0, 0.95), (5, 4, 0.95), (-1, 4, 0.95), (1, 4, 1.0)])
def test_wilson_refuses_what_is_not_a_share(n_correct, n, confidence):
    with pytest.raises(UserError, match=r"expected|confidence"):
        wilson(n_correct, n, confidence)


def test_accuracy_is_the_share_of_correct_images():
    assert accuracy(np.array([True, False, True, True])) == 0.75


@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_robust_accuracy_is_at_most_that_of_every_attack(attacks, images, seed):
    correct = list(np.random.default_rng(seed).random((attacks, images)) < 0.7)

    robust = robust_correct(correct)

    assert robust.shape == (images,)
    assert all(not (robust & ~attack).any() for attack in correct)
    assert robust.sum() == sum(all(column) for column in zip(*correct, strict=True))


@pytest.mark.parametrize(
    "correct",
    [[], [np.zeros(0, bool)], [np.ones(3, bool), np.ones(4, bool)], [np.array([1, 0])], [np.ones((2, 2), bool)]],
    ids=["no attack", "no image", "unequal", "not boolean", "not one-dimensional"],
)
@pytest.mark.parametrize("measure", [robust_correct, lambda c: bootstrap_mean(c, np.random.default_rng(0))])
def test_what_would_silently_give_a_number_is_refused(measure, correct):
    with pytest.raises(UserError, match="expected"):
        measure(correct)


@pytest.mark.parametrize("shares", [[0.4, 0.5], [0.41, 0.44, 0.6, 0.52]])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_over_repetitions_is_students(shares, confidence):
    error = statistics.stdev(shares) / len(shares) ** 0.5
    expected = student_t.interval(confidence, len(shares) - 1, loc=statistics.mean(shares), scale=error)
    assert student(shares, confidence) == pytest.approx((max(0, expected[0]), min(1, expected[1])))


def test_one_repetition_has_no_interval():
    with pytest.raises(UserError, match="two repetitions"):
        student([0.5])


def test_mean_and_std_is_the_sample_deviation():
    values = [80.0, 82.5, 79.0]

    assert mean_and_std(values) == pytest.approx((statistics.mean(values), statistics.stdev(values)))


def test_one_seed_has_no_deviation_and_none_has_no_mean():
    assert mean_and_std([80.0]) == (80.0, None)
    with pytest.raises(UserError, match="at least one"):
        mean_and_std([])


def test_mcnemar_agrees_with_the_hand_worked_binomial_tail():
    # Nine images only B gets right, one only A, five both: two-sided 2·(C(10,0)+C(10,1))/2^10.
    correct_a = np.array([False] * 9 + [True] + [True] * 5)
    correct_b = np.array([True] * 9 + [False] + [True] * 5)

    assert mcnemar(correct_a, correct_b) == (1, 9, pytest.approx(22 / 1024))
    assert mcnemar(correct_b, correct_a) == (9, 1, pytest.approx(22 / 1024))


def test_mcnemar_finds_no_difference_between_equal_classifiers():
    correct = np.array([True, False, True])

    assert mcnemar(correct, correct) == (0, 0, 1.0)


def test_bootstrap_agrees_with_resampling_images_one_by_one():
    generator = np.random.default_rng(5)
    difficulty = generator.random(300)
    correct = np.stack([generator.random(300) < difficulty * share for share in (0.9, 0.7, 0.5)])
    drawn = generator.integers(0, 300, (20_000, 300))
    expected = np.quantile(correct.mean(axis=0)[drawn].mean(axis=1), [0.025, 0.975])

    interval = bootstrap_mean(correct, np.random.default_rng(0), resamples=20_000)

    assert interval == pytest.approx(tuple(expected), abs=2e-3)


def test_repeating_a_condition_does_not_narrow_its_interval():
    correct = np.random.default_rng(1).random(500) < 0.6

    once = bootstrap_mean([correct], np.random.default_rng(0), resamples=20_000)
    often = bootstrap_mean([correct] * 15, np.random.default_rng(0), resamples=20_000)

    assert often == pytest.approx(once, abs=4e-3)
    assert once == pytest.approx(wilson(int(correct.sum()), 500), abs=5e-3)


def test_bootstrap_depends_on_its_generator_only():
    correct = np.random.default_rng(1).random((3, 200)) < 0.6
    np.random.seed(0)  # noqa: NPY002 (the global state must not matter)
    first = bootstrap_mean(correct, np.random.default_rng(3))

    assert bootstrap_mean(correct, np.random.default_rng(3)) == first
    assert bootstrap_mean(correct, np.random.default_rng(4)) != first


@pytest.mark.parametrize("outcome", [True, False])
def test_bootstrap_has_a_width_where_every_outcome_is_the_same(outcome):
    interval = bootstrap_mean(np.full((4, 50), outcome), np.random.default_rng(0))

    assert interval == wilson(50 * outcome, 50)


def test_a_higher_confidence_widens_every_interval():
    correct = np.random.default_rng(1).random((3, 200)) < 0.6
    levels = (0.5, 0.8, 0.95, 0.99)
    by_wilson = [wilson(120, 200, level) for level in levels]
    by_bootstrap = [bootstrap_mean(correct, np.random.default_rng(0), confidence=level) for level in levels]

    for intervals in (by_wilson, by_bootstrap):
        assert all(wide.low < tight.low and wide.high > tight.high for tight, wide in itertools.pairwise(intervals))


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(metrics).failed == 0
