"""The difference between two sides of a claim: per image, over all conditions and seeds that both were scored under."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harness.metrics import Difference, bootstrap_difference, mcnemar, robust_correct, show_epsilon

from .cells import Cell, Cells, base_name
from .claimed import EPSILON, Comparison, Side
from .estimates import RESAMPLING_SEED
from .paper import papers_defense, papers_preprocessing

MCNEMAR, BOOTSTRAP = "McNemar", "bootstrap"
Scored = Mapping[int, Mapping[Hashable, Mapping[Hashable, list[Cell]]]]
"""By seed, condition and attack: the cells, several where an attack took several ways through the preprocessing."""


class Measured(NamedTuple):
    """A comparison's difference, as shares, and which test its p-value is from."""

    difference: Difference
    test: str
    images: int


def measure(cells: Cells, members: Sequence[Cell], comparison: Comparison) -> Measured | None:
    """The difference among comparable cells, None where the sides share nothing that was run.

    Each image's difference is averaged over the conditions, then over the seeds, that both sides have. A single
    condition and seed is tested by McNemar's exact test, a mean by a paired bootstrap over images.
    """
    sides = [_of_side(members, side) for side in (comparison.first, comparison.second)]
    pools = {_pool(cell) for cell in sides[0]} & {_pool(cell) for cell in sides[1]}
    if not pools:
        return None
    pool = max(pools, key=lambda pool: (pool[0], pool))
    first, second = (_scored([cell for cell in side if _pool(cell) == pool]) for side in sides)
    pairs = _pairs(cells, first, second)
    return _tested(pairs, comparison.claimed) if pairs else None


def _of_side(members: Sequence[Cell], side: Side) -> list[Cell]:
    found = [cell for cell in members if _is_of(cell, side)]
    papers = [cell for cell in found if papers_preprocessing(cell)] if side.preprocessed else []
    used = {cell.preprocess for cell in papers or found}
    return [cell for cell in found if cell.preprocess == min(used)]


def _is_of(cell: Cell, side: Side) -> bool:
    defense = cell.defense if ":" in side.defense else papers_defense(cell)
    scored = (defense, base_name(cell.suite), cell.preprocessed, cell.threat)
    return scored == (side.defense, side.suite, side.preprocessed, side.threat) and _is_at(cell, side.conditions)


def _is_at(cell: Cell, conditions: Sequence[str]) -> bool:
    if cell.threat:
        return cell.epsilon is not None and show_epsilon(cell.epsilon) == EPSILON and cell.norm.lower() == "linf"
    return not conditions or cell.condition in conditions


def _pool(cell: Cell) -> tuple[int, str, str]:
    """What cells must share to be compared; of several pools the one with the most images counts."""
    return cell.n_images, cell.suite, cell.epsilon_space


def _scored(found: Sequence[Cell]) -> Scored:
    scored: dict[int, dict[Hashable, dict[Hashable, list[Cell]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for cell in found:
        condition = cell.epsilon if cell.threat else (cell.condition, cell.severity, cell.source)
        scored[cell.seed][condition][cell.attack, cell.stage].append(cell)
    return scored


Pairs = list[list[tuple[np.ndarray, np.ndarray]]]
"""By seed and condition, which images each side got right, [N] bool."""


def _pairs(cells: Cells, first: Scored, second: Scored) -> Pairs:
    pairs: Pairs = []
    for seed in sorted(first.keys() & second.keys()):
        found = []
        for condition in sorted(first[seed].keys() & second[seed].keys(), key=str):
            sides = first[seed][condition], second[seed][condition]
            attacks = sides[0].keys() & sides[1].keys()
            if attacks:
                found.append(tuple(_right(cells, side, attacks) for side in sides))
        if found:
            pairs.append([(a, b) for a, b in found])
    return pairs


def _right(cells: Cells, by_attack: Mapping[Hashable, list[Cell]], attacks: set[Hashable]) -> np.ndarray:
    """Right under every one of these attacks."""
    return robust_correct([cells.correct(cell) for attack in attacks for cell in by_attack[attack]])


def _tested(pairs: Pairs, claimed: tuple[float, float]) -> Measured:
    by_seed = [np.mean([a.astype(float) - b for a, b in seed], axis=0) for seed in pairs]
    differences = np.mean(by_seed, axis=0)
    found = bootstrap_difference(differences, np.random.default_rng(RESAMPLING_SEED), claimed=claimed)
    if len(pairs) == 1 and len(pairs[0]) == 1 and 0.0 in claimed:
        exact = mcnemar(*pairs[0][0]).p_value
        return Measured(found._replace(p_value=exact), MCNEMAR, len(differences))
    return Measured(found, BOOTSTRAP, len(differences))
