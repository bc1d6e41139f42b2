"""The single conditions: who got how many images right, and for every two entries how many only the first did."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.metrics import wilson
from harness.records.schema import Record

from ..collect.cells import Cells
from ..statistics.attack_coverage import Attack, attack_name, furthest
from ..tables.engine.base import DECIMALS
from ..tables.engine.layout import threat_label
from ..tables.paired import survived
from .entries import Entries
from .measures import attack_text, condition_order, group_title, radius_text, source_text, suite_order

WORST = "worst case"
PAIRS = 150_000
"""How many pair counts are put into a page, which keeps them under a megabyte."""


class BlockCondition(NamedTuple):
    """What was done to the images, in order and in words."""

    order: tuple[Any, ...]
    group: str
    label: str
    severity: int | None = None
    threat: str = ""
    radius: str = ""
    epsilon: float | None = None
    diagnostic: bool = False
    """It checks attacks; no pairs of entries are compared."""
    shared: bool = False
    """It is the attacks that two entries have in common, for comparing these two alone."""


class Scored(NamedTuple):
    """Entries that were scored on the same images under one condition, each with its outcomes [N] bool."""

    condition: BlockCondition
    seed: int
    outcomes: dict[int, np.ndarray]


def blocks_of(cells: Cells, entries: Entries) -> dict[str, Any]:
    """conditions, and blocks of entries that can be compared under one of them.

    A block has the entries, how many images each got right, and Wilson's interval; `only` holds, for the first entry
    and every later one, then the second and so on, how many images only the earlier of the two got right. It is left
    out where `PAIRS` are used up; `left_out` says in how many blocks.
    """
    scored = sorted([*_scored(cells, entries), *_worst_cases(cells.scores(), entries)], key=lambda each: each[:2])
    conditions = sorted({each.condition for each in scored})
    place = {condition: number for number, condition in enumerate(conditions)}
    blocks, left, left_out = [], PAIRS, 0
    for each in scored:
        pairs = len(each.outcomes) * (len(each.outcomes) - 1) // 2
        compared = 0 < pairs <= left and not each.condition.diagnostic
        left -= pairs if compared else 0
        left_out += pairs > 0 and not compared and not each.condition.diagnostic
        blocks.append({"condition": place[each.condition], **_block(each, compared=compared)})
    return {"conditions": [_shown(each) for each in conditions], "blocks": blocks, "left_out": left_out}


def only_first(outcomes: np.ndarray) -> np.ndarray:
    """For every two of several classifiers, how many images only the first got right: [E,N] bool to [E,E] int64.

    Sums of up to 2²⁴ ones are exact in float32, which is what makes this a fast product of matrices.
    """
    right = outcomes.astype(np.float32)
    both = (right @ right.T).astype(np.int64)
    return np.asarray(outcomes.sum(axis=1)[:, None] - both)


def _block(each: Scored, *, compared: bool) -> dict[str, Any]:
    outcomes = np.stack(list(each.outcomes.values()))
    count = outcomes.shape[1]
    right = [int(number) for number in outcomes.sum(axis=1)]
    intervals = [[round(100 * end, DECIMALS) for end in wilson(number, count)] for number in right]
    block = {"seed": each.seed, "images": count, "entries": list(each.outcomes), "right": right, "spans": intervals}
    if not compared:
        return block
    pairs = only_first(outcomes)[np.triu_indices(len(outcomes), 1)]
    return {**block, "only": " ".join(map(str, pairs))}


def _shown(condition: BlockCondition) -> dict[str, Any]:
    parts = condition._asdict()
    del parts["order"]
    return {name: value for name, value in parts.items() if value not in ("", None, False)}


def _scored(cells: Cells, entries: Entries) -> Iterator[Scored]:
    condition = _condition_of(list(cells))
    outcomes_of: dict[tuple[Any, ...], dict[int, np.ndarray]] = defaultdict(dict)
    for record in cells:
        outcomes_of[condition(record), _images(record, entries)][entries.number(record)] = record.correct()
    for (condition_of, images), outcomes in outcomes_of.items():
        yield Scored(condition_of, images[-1], dict(sorted(outcomes.items())))


def _worst_cases(scores: Sequence[Record], entries: Entries) -> Iterator[Scored]:
    """Under all attacks of a threat model and radius; two that were under different ones, under those they share."""
    attacked = [record for record in scores if record.threat]
    for key, by_entry in _attacked(attacked, entries).items():
        last = {entry: furthest(members) for entry, members in sorted(by_entry.items())}
        by_attacks: dict[frozenset[Attack], list[int]] = defaultdict(list)
        for entry, members in last.items():
            by_attacks[frozenset(map(attack_name, members))].append(entry)
        for attacks, alike in by_attacks.items():
            yield Scored(key[0], key[-1][-1], {entry: survived(last[entry], attacks) for entry in alike})
        for (one, some), (other, others) in itertools.combinations(by_attacks.items(), 2):
            if shared := one & other:
                right = {entry: survived(last[entry], shared) for entry in (*some, *others)}
                for pair in itertools.product(some, others):
                    outcomes = {entry: right[entry] for entry in sorted(pair)}
                    yield Scored(_under_shared(key[0], shared), key[-1][-1], outcomes)


def _under_shared(worst: BlockCondition, attacks: Collection[Attack]) -> BlockCondition:
    """The condition of two that share these attacks only; of the same place in the order, but behind it."""
    names = sorted(" ".join(filter(None, attack)) for attack in attacks)
    label = f"{WORST} of the attacks on both: {', '.join(names)}"
    return worst._replace(order=(*worst.order, *names), label=label, shared=True)


def _attacked(attacked: Sequence[Record], entries: Entries) -> Mapping[tuple[Any, ...], Mapping[int, list[Record]]]:
    title, radius = group_title(attacked), radius_text(attacked)
    by_entry: dict[tuple[Any, ...], dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in attacked:
        at = radius(record)
        order = (*suite_order(record), record.n_images, threat_label(record).order, *at.order, 0)
        worst = BlockCondition(order, title(record), WORST, None, record.threat, at.text, record.epsilon)
        by_entry[worst, _images(record, entries)][entries.number(record)].append(record)
    return by_entry


def _images(record: Record, entries: Entries) -> tuple[Any, ...]:
    """What two cells share that were scored on the same images with networks of the same kind; the seed comes last."""
    entry = entries.entry(record)
    return entry.dataset, entry.backbone, record.n_images, record.seed


def _condition_of(records: Sequence[Record]) -> Callable[[Record], BlockCondition]:
    title, radius, source = group_title(records), radius_text(records), source_text(records)

    def condition(record: Record) -> BlockCondition:
        start = (*suite_order(record), record.n_images)
        if not record.threat:
            order = (*start, *condition_order(record.condition), record.severity or 0, record.source)
            label = " ".join(filter(None, (record.condition, source(record))))
            return BlockCondition(order, title(record), label, record.severity)
        at, attack = radius(record), attack_text(record)
        order = (*start, threat_label(record).order, *at.order, 1, *condition_order(attack))
        diagnostic = record.purpose == "diagnostic"
        return BlockCondition(order, title(record), attack, None, record.threat, at.text, record.epsilon, diagnostic)

    return condition
