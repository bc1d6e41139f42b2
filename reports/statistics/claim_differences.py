"""The difference between two sides of a claim: per image, over all conditions and seeds that both were scored under."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harness.metrics import Difference, bootstrap_difference, mcnemar, robust_correct, show_epsilon
from harness.records.schema import Record

from ..collect.labels import base_name
from ..paper.comparisons import EPSILON, Comparison, Side
from ..paper.numbers import papers_defense, papers_preprocessing
from .estimates import RESAMPLING_SEED

PAPERS_SPACE = "normalized"
MCNEMAR, BOOTSTRAP = "McNemar", "bootstrap"
Scored = Mapping[int, Mapping[Hashable, Mapping[Hashable, list[Record]]]]
"""By seed, condition and attack: the records, several where an attack used several surrogate gradients."""


class Measured(NamedTuple):
    """A comparison's difference, as shares."""

    difference: Difference
    test: str
    """Which test its p-value is from."""
    images: int
    used: tuple[Record, ...]
    """The records it is computed from."""


def measure(members: Sequence[Record], comparison: Comparison) -> Measured | None:
    """The difference among comparable cells, None where the sides share nothing that was run.

    Each image's difference is averaged over the conditions, then over the seeds, that both sides have. A single
    condition and seed is tested by McNemar's exact test, a mean by a paired bootstrap over images.
    """
    sides = [_of_side(members, side) for side in (comparison.first, comparison.second)]
    pools = {_pool(record) for record in sides[0]} & {_pool(record) for record in sides[1]}
    for pool in sorted(pools, reverse=True):
        first, second = (_scored([record for record in side if _pool(record) == pool]) for side in sides)
        if pairs := _pairs(first, second):
            return _tested(pairs, comparison.claimed)
    return None


def _of_side(members: Sequence[Record], side: Side) -> list[Record]:
    """The records of a side; preprocessed ones only where the preprocessing is the paper's."""
    records = [record for record in members if _is_of(record, side)]
    return [record for record in records if papers_preprocessing(record)] if side.preprocessed else records


def _is_of(record: Record, side: Side) -> bool:
    defense = record.defense if ":" in side.defense else papers_defense(record)
    scored = (defense, base_name(record.suite), record.preprocessed, record.threat)
    return scored == (side.defense, side.suite, side.preprocessed, side.threat) and _is_at(record, side.conditions)


def _is_at(record: Record, conditions: Sequence[str]) -> bool:
    if record.threat:
        return record.epsilon is not None and show_epsilon(record.epsilon) == EPSILON and record.norm.lower() == "linf"
    return not conditions or record.condition in conditions


def _pool(record: Record) -> tuple[bool, int, str, str]:
    """What cells must share to be compared; of several pools the highest counts.

    That is first one with ε where the paper measures it, then the one with the most images.
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
"""By seed and condition, the records of each side; several where an image must be right in all of them."""


def _pairs(first: Scored, second: Scored) -> Pairs:
    pairs: Pairs = []
    for seed in sorted(first.keys() & second.keys()):
        conditions = []
        for condition in sorted(first[seed].keys() & second[seed].keys(), key=str):
            sides = first[seed][condition], second[seed][condition]
            attacks = sides[0].keys() & sides[1].keys()
            if attacks:
                conditions.append((_under(sides[0], attacks), _under(sides[1], attacks)))
        if conditions:
            pairs.append(conditions)
    return pairs


def _under(by_attack: Mapping[Hashable, list[Record]], attacks: Iterable[Hashable]) -> list[Record]:
    return [record for attack in attacks for record in by_attack[attack]]


def _tested(pairs: Pairs, claimed: tuple[float, float]) -> Measured:
    outcomes = [[(_right(a), _right(b)) for a, b in seed] for seed in pairs]
    by_seed = [np.mean([a.astype(float) - b for a, b in seed], axis=0) for seed in outcomes]
    differences = np.mean(by_seed, axis=0)
    used = tuple(record for seed in pairs for sides in seed for side in sides for record in side)
    difference = bootstrap_difference(differences, np.random.default_rng(RESAMPLING_SEED), claimed=claimed)
    if len(pairs) == 1 and len(pairs[0]) == 1 and 0.0 in claimed:
        exact = mcnemar(*outcomes[0][0]).p_value
        return Measured(difference._replace(p_value=exact), MCNEMAR, len(differences), used)
    return Measured(difference, BOOTSTRAP, len(differences), used)


def _right(records: Sequence[Record]) -> np.ndarray:
    """Which images are right in all of these records."""
    return robust_correct([record.correct() for record in records])
