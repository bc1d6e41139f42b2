"""Sorts estimates by data set and network, which figures never mix, and keeps as many defenses as can be read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import NamedTuple

from ..cells import Cell, Group
from ..layout import Label, Place, backbone_label, defense_order, group_names, group_order
from ..table import Estimate


class Network(NamedTuple):
    """What was measured on one data set with one backbone, whatever the defense.

    places: rows begin with the backbone · members: the cells of which they are made, of the defenses shown ·
    left_out: the defenses for which there was no room.
    """

    title: str
    places: Mapping[Place, Estimate]
    members: tuple[Cell, ...]
    left_out: tuple[str, ...]

    @property
    def defenses(self) -> list[str]:
        """Those shown, in the tables' order."""
        return sorted({place.defense for place in self.places}, key=defense_order)

    def part(self, rows: Iterable[Label]) -> Network:
        """The same with those places only whose second label is one of these."""
        wanted = set(rows)
        return self._replace(places={place: self.places[place] for place in self.places if place.row[1] in wanted})


def by_network(
    places: Mapping[Place, Estimate],
    chosen: Iterable[Cell],
    *,
    most: int,
    group: Callable[[Cell], Group] = attrgetter("group"),
) -> list[Network]:
    """The networks in the tables' order, each with at most so many defenses."""
    found: dict[tuple[Group, Label], dict[Place, Estimate]] = defaultdict(dict)
    for place, estimate in places.items():
        found[place.group, place.row[0]][place] = estimate
    members: dict[tuple[Group, Label], list[Cell]] = defaultdict(list)
    for cell in chosen:
        members[group(cell), backbone_label(cell)].append(cell)
    named = group_names(of for of, _ in found)
    return [
        _network(f"{named[of]}, {backbone.text}", found[of, backbone], members[of, backbone], most)
        for of, backbone in sorted(found, key=lambda key: (group_order(key[0]), key[1]))
    ]


def _network(title: str, places: Mapping[Place, Estimate], members: Iterable[Cell], most: int) -> Network:
    """With the defenses that have the most estimates, of equals the first in the tables' order."""
    counts = Counter(place.defense for place in places)
    ranked = sorted(counts, key=lambda defense: (-counts[defense], defense_order(defense)))
    kept = set(ranked[:most])
    return Network(
        title,
        {place: estimate for place, estimate in places.items() if place.defense in kept},
        tuple(cell for cell in members if cell.defense in kept),
        tuple(sorted(ranked[most:], key=defense_order)),
    )
