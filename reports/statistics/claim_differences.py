"""The difference between the two sides of a claim, per image, over the conditions and seeds that both sides have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harness.metrics import Difference, bootstrap_difference, mcnemar, show_epsilon
from harness.records.schema import Record

from ..collect.labels import base_name
from ..paper.comparisons import EPSILON, Comparison, Side
from ..paper.numbers import papers_defense, papers_preprocessing
from .estimates import RESAMPLING_SEED, correct_in_all

PAPERS_SPACE = "normalized"
MCNEMAR, BOOTSTRAP = "McNemar", "bootstrap"
Scored = Mapping[int, Mapping[Hashable, Mapping[Hashable, list[Record]]]]
"""By seed, condition and attack, the records; several where an attack used several surrogate gradients."""


class Measured(NamedTuple):
    """The measured difference of a comparison, as shares."""

    difference: Difference
    test: str
    """The test that its p-value is from."""
    images: int
    used: tuple[Record, ...]
    """The records it is computed from."""


def measure(members: Sequence[Record], comparison: Comparison) -> Measured | None:
    """The difference between comparable cells; None where the sides have no condition and seed in common.

    Each image's difference is averaged over the conditions, then over the seeds, that both sides have. A single
    condition and seed is tested by McNemar's exact test, a mean by a paired bootstrap over images.
    """
    sides = [[record for record in members if _is_of(record, side)] for side in (comparison.first, comparison.second)]
    pools = {_pool(record) for record in sides[0]} & {_pool(record) for record in sides[1]}
    for pool in sorted(pools, reverse=True):
        first, second = (_scored([record for record in side if _pool(record) == pool]) for side in sides)
        if pairs := _pairs(first, second):
            return _tested(pairs, comparison.bounds)
    return None


def _is_of(record: Record, side: Side) -> bool:
    """Whether a record is on this side; a preprocessed one only where the preprocessing is the paper's."""
    defense = record.defense if ":" in side.defense else papers_defense(record)
    scored = (defense, base_name(record.suite), record.preprocessed, record.threat)
    if scored != (side.defense, side.suite, side.preprocessed, side.threat):
        return False
    if side.preprocessed and not papers_preprocessing(record):
        return False
    if record.threat:
        return record.epsilon is not None and show_epsilon(record.epsilon) == EPSILON and record.norm.lower() == "linf"
    return not side.conditions or record.condition in side.conditions


def _pool(record: Record) -> tuple[bool, int, str, str]:
    """What cells must have in common to be compared; of several pools the highest one counts.

    It is one with ε in the paper's space, if there is any, and then the one with the most images.
    """
    return record.epsilon_space == PAPERS_SPACE, record.n_images, record.suite, record.epsilon_space


def _scored(records: Sequence[Record]) -> Scored:
    scored: dict[int, dict[Hashable, dict[Hashable, list[Record]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for record in records:
        condition = record.epsilon if record.threat else (record.condition, record.severity, record.source)
        scored[record.seed][condition][record.attack, record.stage].append(record)
    return scored


Pairs = list[list[tuple[list[Record], list[Record]]]]
"""By seed and condition, the records of each side; several where an image must be correct in all of them."""


def _pairs(first: Scored, second: Scored) -> Pairs:
    pairs: Pairs = []
    for seed in sorted(first.keys() & second.keys()):
        conditions = []
        for condition in sorted(first[seed].keys() & second[seed].keys(), key=str):
            one, other = first[seed][condition], second[seed][condition]
            if attacks := one.keys() & other.keys():
                conditions.append((_under(attacks, one), _under(attacks, other)))
        if conditions:
            pairs.append(conditions)
    return pairs


def _under(attacks: Iterable[Hashable], by_attack: Mapping[Hashable, list[Record]]) -> list[Record]:
    return [record for attack in attacks for record in by_attack[attack]]


def _tested(pairs: Pairs, bounds: tuple[float, float]) -> Measured:
    outcomes = [[(correct_in_all(a), correct_in_all(b)) for a, b in seed] for seed in pairs]
    by_seed = [np.mean([a.astype(float) - b for a, b in seed], axis=0) for seed in outcomes]
    differences = np.mean(by_seed, axis=0)
    used = tuple(record for seed in pairs for sides in seed for side in sides for record in side)
    difference = bootstrap_difference(differences, np.random.default_rng(RESAMPLING_SEED), claimed=bounds)
    if len(pairs) == 1 and len(pairs[0]) == 1 and 0.0 in bounds:
        exact = mcnemar(*outcomes[0][0]).p_value
        return Measured(difference._replace(p_value=exact), MCNEMAR, len(differences), used)
    return Measured(difference, BOOTSTRAP, len(differences), used)
