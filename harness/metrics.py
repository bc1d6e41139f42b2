"""Statistics of per-image outcomes: accuracies, intervals, the worst case over attacks, paired tests.

Shares are in [0,1] throughout; tables turn them into percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from harness.errors import UserError


class Interval(NamedTuple):
    """A confidence interval of a share, both ends in [0,1]."""

    low: float
    high: float


class MeanStd(NamedTuple):
    """The mean over repetitions and their sample standard deviation, None for a single repetition."""

    mean: float
    std: float | None


class PairedTest(NamedTuple):
    """McNemar's test of two classifiers on the same images."""

    b: int
    """Images that only the first got right."""
    c: int
    """Images that only the second got right."""
    p_value: float
    """Two-sided and exact."""


class Difference(NamedTuple):
    """A mean difference between two accuracies on the same images, its interval, and its p-value."""

    mean: float
    low: float
    high: float
    p_value: float


def accuracy(correct: np.ndarray) -> float:
    """The share of correct images. correct: [N] bool. Raises: UserError for no images."""
    return float(_outcomes([correct])[0].mean())


def wilson(n_correct: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share (Wilson 1927); it stays in [0,1] and has a width even at 0 and 1.

    A larger `confidence` widens it. Raises: UserError for n = 0, or counts and levels out of range.

    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    if n < 1 or not 0 <= n_correct <= n:
        raise UserError(f"expected 0 ≤ n_correct ≤ n with at least one image, got {n_correct} of {n}.")
    z = _normal_quantile(confidence)
    share = n_correct / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # The bound is exactly 0 or 1 there, which the formula reaches only up to rounding.
    return Interval(0.0 if n_correct == 0 else centre - half, 1.0 if n_correct == n else centre + half)


def robust_correct(correct: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each image stays correct under every attack, its worst case: [N] bool.

    correct: one [N] bool array an attack, images in the same order.
    Raises: UserError for no attacks, no images, or attacks over different numbers of images.
    """
    return np.asarray(_outcomes(correct).all(axis=0))


def mean_and_std(values: Sequence[float]) -> MeanStd:
    """Mean and sample standard deviation (n − 1) over repetitions such as seeds. Raises: UserError for none."""
    if not values:
        raise UserError("expected at least one value to average, got none.")
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return MeanStd(float(np.mean(values)), deviation)


def student(shares: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval (n − 1 degrees of freedom) of the mean over repetitions such as trainings, within [0,1].

    A larger `confidence` widens it. Raises: UserError for fewer than two, or a level out of range.

    >>> [round(end, 3) for end in student([0.4, 0.5, 0.6])]
    [0.252, 0.748]
    """
    from scipy.special import stdtrit  # scipy.stats, which has it too, loads for seconds

    mean, std = mean_and_std(shares)
    if std is None:
        raise UserError("expected at least two repetitions for an interval of their mean, got one.")
    half = float(stdtrit(len(shares) - 1, (1 + _checked(confidence)) / 2)) * std / math.sqrt(len(shares))
    return Interval(max(0.0, mean - half), min(1.0, mean + half))


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> PairedTest:
    """Whether two classifiers differ on the same images, by the exact binomial form of McNemar's test (1947).

    correct_a, correct_b: [N] bool, images in the same order. Raises: UserError for no images or unequal lengths.
    """
    from scipy.special import bdtr  # scipy.stats, which has the test, loads for seconds

    first, second = _outcomes([correct_a, correct_b])
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return PairedTest(b, c, min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5))))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for making several comparisons at once (Holm 1979), in the order given.

    >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def mean_corruption_error(errors: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """The error relative to a baseline's, averaged over corruptions (mCE, Hendrycks & Dietterich 2019).

    1.0 is the baseline. errors, baseline: by corruption, each the mean over its severities; shares or percent.
    Raises: UserError for no corruption, others than the baseline's, or one where the baseline makes no error.
    """
    if not errors or errors.keys() != baseline.keys():
        raise UserError(f"expected errors of the corruptions {sorted(baseline)}, got those of {sorted(errors)}.")
    perfect = sorted(name for name, error in baseline.items() if error <= 0)
    if perfect:
        raise UserError(f"the baseline makes no error on {', '.join(perfect)}, so that no error is relative to it.")
    return float(np.mean([errors[name] / baseline[name] for name in errors]))


def bootstrap_mean(
    correct: Sequence[np.ndarray] | np.ndarray,
    generator: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Percentile interval of the mean accuracy over conditions, by resampling images (Efron 1979).

    An image is drawn with all its outcomes: conditions share images and are not independent, so that pooling their
    counts would make the interval too narrow. Where all outcomes are the same, resampling shows no spread, and
    Wilson's interval for N images is returned.

    correct: [conditions, N] bool, or as many [N] arrays
    resamples: a larger number steadies the ends
    Raises: UserError for no conditions, no images, unequal lengths, or options out of range.
    """
    if resamples < 1:
        raise UserError(f"resamples must be at least 1, got {resamples}.")
    tail = (1 - _checked(confidence)) / 2
    outcomes = _outcomes(correct)
    conditions, n = outcomes.shape
    if outcomes.all() or not outcomes.any():
        return wilson(n if outcomes.all() else 0, n, confidence)
    # Images with equally many correct outcomes are interchangeable: drawing images is drawing how many of each kind.
    kinds = np.bincount(outcomes.sum(axis=0), minlength=conditions + 1)
    draws = generator.multinomial(n, kinds / n, size=resamples)
    means = draws @ np.arange(conditions + 1) / (n * conditions)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def bootstrap_difference(
    differences: np.ndarray,
    generator: np.random.Generator,
    *,
    claimed: tuple[float, float] = (0.0, math.inf),
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Difference:
    """The mean difference between two classifiers on the same images, with a paired bootstrap over images.

    The interval holds percentiles over resampled images, each drawn with all its conditions, as in `bootstrap_mean`.
    Where every image has the same difference, it reaches to either side as far as Wilson's interval of a share of 0.
    The p-value is two-sided, by a paired z-test; its null hypothesis puts the mean at the nearer bound of `claimed`.

    differences: [N] in [−1,1], for each image the first's share of correct conditions less the second's
    claimed: the bounds between which the mean is claimed to lie
    resamples: a larger number steadies the ends of the interval
    Raises: UserError for no images, differences out of range, bounds in the wrong order, or options out of range.
    """
    if resamples < 1 or not claimed[0] < claimed[1]:
        raise UserError(f"expected resamples ≥ 1 and rising bounds, got {resamples} and {claimed}.")
    tail = (1 - _checked(confidence)) / 2
    if differences.ndim != 1 or not len(differences) or not (np.abs(differences) <= 1).all():
        raise UserError(f"expected differences in [−1,1] for at least one image, got shape {differences.shape}.")
    n, mean = len(differences), float(np.mean(differences))
    # Images with the same difference are interchangeable, see `bootstrap_mean`.
    kinds, counts = np.unique(np.round(differences, 12), return_counts=True)
    unseen = wilson(0, n, confidence).high
    if len(kinds) == 1:
        low, high, error = max(-1.0, mean - unseen), min(1.0, mean + unseen), unseen / _normal_quantile(confidence)
    else:
        means = generator.multinomial(n, counts / n, size=resamples) @ kinds / n
        low, high = map(float, np.quantile(means, [tail, 1 - tail]))
        error = float(np.std(differences)) / math.sqrt(n)
    distance = min(abs(mean - bound) for bound in claimed)
    return Difference(mean, low, high, 2 * NormalDist().cdf(-distance / error))


def show_epsilon(epsilon: float) -> str:
    """A radius as the field writes it: a multiple of 1/255 as 8/255, any other as a decimal.

    >>> show_epsilon(8 / 255), show_epsilon(0.5), show_epsilon(1e-9)
    ('8/255', '0.5', '1e-09')
    """
    levels = epsilon * 255
    whole = round(levels)
    return f"{whole}/255" if whole and abs(levels - whole) < 1e-6 else f"{epsilon:.6g}"


def _outcomes(correct: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """[N] bool arrays stacked to [K,N]. Raises: UserError for other arrays, which NumPy would average silently."""
    arrays = [np.asarray(part) for part in correct]
    if not arrays:
        raise UserError("expected the outcomes of at least one condition, got none.")
    for part in arrays:
        if part.ndim != 1 or part.dtype != np.bool_:
            raise UserError(f"expected one-dimensional boolean outcomes, got {part.dtype} of shape {part.shape}.")
    lengths = sorted({len(part) for part in arrays})
    if lengths[0] == 0:
        raise UserError("expected the outcomes of at least one image, got none.")
    if len(lengths) > 1:
        raise UserError(f"expected outcomes for the same images, got {' and '.join(map(str, lengths))} of them.")
    return np.stack(arrays)


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UserError(f"confidence must lie strictly between 0 and 1, got {confidence}.")
    return confidence


def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + _checked(confidence)) / 2)
