"""Sorts estimates by data set and network, which figures never mix, and keeps as many defenses as can be read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from harness.records.schema import Record

from ..collect.cells import Group, group_of
from ..collect.labels import natural
from ..statistics.estimates import Estimate
from ..tables.engine.layout import Label, Place, backbone_label, defense_order, group_names, group_order

MOST_KINDS = 2
"""Of preprocessing that a figure names beside each defense's only one."""


class Network(NamedTuple):
    """What was measured on one data set with one backbone, under any defense."""

    title: str
    places: Mapping[Place, Estimate]
    """Their rows begin with the backbone."""
    members: tuple[Record, ...]
    """The records they are made from."""
    left_out: tuple[str, ...]
    """The defenses for which there is no room."""

    @property
    def defenses(self) -> list[str]:
        """The defenses drawn, in the tables' order."""
        return sorted({place.column for place in self.places}, key=defense_order)

    def part(self, rows: Iterable[Label]) -> Network:
        """The same with those places only whose second label is one of these."""
        wanted = set(rows)
        return self._replace(places={place: self.places[place] for place in self.places if place.row[1] in wanted})


def by_network(
    places: Mapping[Place, Estimate],
    records: Iterable[Record],
    *,
    most: int,
    group: Callable[[Record], Group] = group_of,
) -> list[Network]:
    """The networks in the tables' order, each with at most so many defenses."""
    estimates: dict[tuple[Group, Label], dict[Place, Estimate]] = defaultdict(dict)
    for place, estimate in places.items():
        estimates[place.group, place.row[0]][place] = estimate
    members: dict[tuple[Group, Label], list[Record]] = defaultdict(list)
    for record in records:
        members[group(record), backbone_label(record)].append(record)
    named = group_names(of for of, _ in estimates)
    return [
        _network(f"{named[of]}, {backbone.text}", estimates[of, backbone], members[of, backbone], most)
        for of, backbone in sorted(estimates, key=lambda key: (group_order(key[0]), key[1]))
    ]


def _network(title: str, places: Mapping[Place, Estimate], members: Iterable[Record], most: int) -> Network:
    """With the defenses that have the most estimates, of equals the first in the tables' order."""
    counts = Counter(place.column for place in places)
    ranked = sorted(counts, key=lambda defense: (-counts[defense], defense_order(defense)))
    kept = set(ranked[:most])
    return Network(
        title,
        {place: estimate for place, estimate in places.items() if place.column in kept},
        tuple(record for record in members if record.defense in kept),
        tuple(sorted(ranked[most:], key=defense_order)),
    )


def treatments(records: Iterable[Record]) -> tuple[list[Record], Callable[[Record], Label]]:
    """The records that can be told apart in a figure, and their labels “without” and “with”.

    Where a defense was scored with several preprocessors these are named, the two that most cells have; cells of
    such a defense with a third one are left out.
    """
    records = list(records)
    used: dict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    for record in records:
        if record.preprocessed:
            used[_scored(record)][record.preprocess] += 1
    several = {key for key, names in used.items() if len(names) > 1}
    counts = sum((used[key] for key in several), Counter[str]())
    named = sorted(counts, key=lambda name: (-counts[name], natural(name)))[:MOST_KINDS]

    def label(record: Record) -> Label:
        if not record.preprocessed:
            return Label((0,), "without")
        if _scored(record) not in several:
            return Label((1,), "with")
        return Label((2, natural(record.preprocess)), f"with {record.preprocess}")

    plain = (record for record in records if _scored(record) not in several or not record.preprocessed)
    return [*plain, *(c for c in records if _scored(c) in several and c.preprocess in named)], label


def _scored(record: Record) -> tuple[object, ...]:
    return record.dataset, record.family, record.data, record.preset, record.backbone, record.defense
