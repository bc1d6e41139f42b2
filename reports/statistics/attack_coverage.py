"""Under which attacks records were made: their stages, their variants, and how many of a row's attacks are recorded."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from harness.records.schema import Record

from ..collect.cells import setting_of

Attack = tuple[str, str]
"""The name of an attack, one for all its variants; and the last stage of an unfinished one, else ""."""


def is_result(record: Record) -> bool:
    """Whether it is the last stage of its attack."""
    return record.stage_index is None or record.stage_index + 1 == record.stage_count


def furthest(records: Iterable[Record]) -> list[Record]:
    """Of each attack in stages the last recorded stage alone, whose outcome includes those of the earlier stages."""
    last: dict[Hashable, Record] = {}
    for record in records:
        attack = _attack_in_stages(record)
        if attack not in last or (record.stage_index or 0) > (last[attack].stage_index or 0):
            last[attack] = record
    return list(last.values())


def attack_name(record: Record) -> Attack:
    """The attack that a record was made under."""
    return record.counts_as or record.attack, "" if is_result(record) else record.stage


def covered(records: Sequence[Record], row: Sequence[Record]) -> tuple[int, int]:
    """How many attacks a place has results of, and how many are expected; each surrogate gradient counts as one.

    Expected are all attacks of the row, with every surrogate gradient that was used in the row with the same
    preprocessing. Surrogate gradients of another preprocessing do not count.
    """
    done = _gradients(records)
    expected = _gradients([record for record in row if record.preprocess == records[0].preprocess])
    attacks = {_attack_and_radius(record) for record in row}
    return sum(map(len, done.values())), sum(len(expected.get(attack, {""})) for attack in attacks)


def _gradients(records: Iterable[Record]) -> dict[Hashable, set[str]]:
    """By attack and radius, the surrogate gradients of the records that are results."""
    gradients: dict[Hashable, set[str]] = defaultdict(set)
    for record in filter(is_result, records):
        gradients[_attack_and_radius(record)].add(record.gradient)
    return dict(gradients)


def _attack_and_radius(record: Record) -> Hashable:
    return attack_name(record)[0], record.epsilon


def _attack_in_stages(record: Record) -> Hashable:
    """What the stages of one attack have in common; a record that is no stage has its own identity."""
    if record.stage_index is None:
        return record.identity
    return setting_of(dataclasses.replace(record, condition=record.gradient))
