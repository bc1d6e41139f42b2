"""Puts estimates where they belong: which row and column, in which order, under which label, and who is best."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from harness.metrics import show_epsilon

from ..collect.cells import Cell, Cells, Group, base_name
from ..paper.numbers import BACKBONES, DEFENSES, FAMILIES
from ..statistics.estimates import Combine
from .base import DECIMALS, Column, Estimate, Finding, PaperNumber, Row, Sentence, Table

THREATS = ("bare", "transfer", "adaptive")
DIGEST_DIGITS = 6
"""How much of a digest is shown where data sets of one name hold different images."""


BOLD = Sentence(
    "Bold: the highest of its row and data set; whether it leads significantly, `paired` says.",
    short="Bold: the highest; whether significantly, `paired` says.",
)


class Label(NamedTuple):
    """A row label, and where it stands among the others of its kind."""

    order: tuple[Any, ...]
    text: str


WITHOUT = Label((0,), "without")
"""The label of what went to the network as it was."""


class Place(NamedTuple):
    """A row, a group of columns and a column in it."""

    row: tuple[Label, ...]
    group: Group
    defense: str


Places = Mapping[Place, Estimate | Finding]
RowOf = Callable[[Cell], tuple[Label, ...]]
PaperOf = Callable[[Sequence[Cell]], PaperNumber | None]


def fill(
    cells: Cells,
    chosen: Iterable[Cell],
    *,
    row: RowOf,
    combine: Combine,
    paper: PaperOf,
    group: Callable[[Cell], Group] = attrgetter("group"),
    column: Callable[[Cell], str] = attrgetter("defense"),
) -> dict[Place, Estimate]:
    """Sort the chosen cells into places and estimate each.

    A row's conditions are all that any defense has there (how they are counted is for `combine` to say), the table's
    seeds all that are in the chosen cells.
    """
    chosen = list(chosen)
    seeds = len({cell.seed for cell in chosen})
    members: dict[Place, list[Cell]] = defaultdict(list)
    rows: dict[tuple[Hashable, ...], list[Cell]] = defaultdict(list)
    for cell in chosen:
        place = Place(row(cell), group(cell), column(cell))
        members[place].append(cell)
        rows[place[:2]].append(cell)
    return {
        place: dataclasses.replace(combine(cells, found, rows[place[:2]]), paper=paper(found), expected_seeds=seeds)
        for place, found in members.items()
    }


def assemble(
    places: Places,
    *,
    name: str,
    title: str,
    caption: Sequence[str],
    row_header: tuple[str, ...],
    column_header: tuple[str, str] = ("dataset", "defense"),
) -> Table:
    """The table: rows and columns in order, blanks where nothing was run, the best of each contest marked."""
    places = _with_best(places)
    rows = sorted({place.row for place in places})
    columns = sorted({(place.group, place.defense) for place in places}, key=_column_order)
    named = group_names(group for group, _ in columns)
    return Table(
        name=name,
        title=title,
        caption=(*caption, *([BOLD] if any(_is_best(entry) for entry in places.values()) else [])),
        row_header=row_header,
        column_header=column_header,
        columns=tuple(Column(named[group], defense) for group, defense in columns),
        rows=tuple(
            Row(tuple(label.text for label in row), tuple(places.get(Place(row, *column)) for column in columns))
            for row in rows
        ),
    )


def group_names(groups: Iterable[Group]) -> dict[Group, str]:
    """What a group is called: its data set, and whatever else tells it from others of the same data set."""
    groups = set(groups)
    return {
        group: _group_name(group, [other for other in groups if other.dataset == group.dataset]) for group in groups
    }


def backbone_label(cell: Cell) -> Label:
    """The paper's networks first."""
    return Label((_index(BACKBONES, base_name(cell.backbone)), natural(cell.backbone)), cell.backbone)


def preprocess_label(chosen: Sequence[Cell]) -> Callable[[Cell], Label]:
    """Labels “without” and “with”; where a defense was scored with several preprocessors, each has its own row.

    Several they are over all forms of a suite, since there are tables that put these side by side.
    """
    used: dict[tuple[Hashable, ...], set[str]] = defaultdict(set)
    for cell in chosen:
        if cell.preprocessed:
            used[cell.group._replace(images=0, variant=""), cell.backbone, cell.defense, cell.threat].add(
                cell.preprocess
            )
    several = any(len(names) > 1 for names in used.values())

    def label(cell: Cell) -> Label:
        if not cell.preprocessed:
            return WITHOUT
        return Label((1,), f"with {cell.preprocess}" if several else "with")

    return label


def epsilon_label(chosen: Sequence[Cell]) -> Callable[[Cell], Label]:
    """Labels such as “8/255 pixel”: the radius, its space, and its norm where there are several."""
    several = len({cell.norm for cell in chosen}) > 1

    def label(cell: Cell) -> Label:
        epsilon = cell.epsilon or 0.0
        words = [show_epsilon(epsilon), cell.epsilon_space, cell.norm if several else ""]
        return Label((cell.norm, cell.epsilon_space, epsilon), " ".join(filter(None, words)))

    return label


def threat_label(cell: Cell) -> Label:
    """What the attacker knows, the least first."""
    return Label((_index(THREATS, cell.threat),), cell.threat)


def source_label(chosen: Sequence[Cell], order: Callable[[Cell], Label]) -> Callable[[Cell], Label]:
    """The label that `order` gives, with the source of the images where they come from several."""
    several = len({cell.source for cell in chosen}) > 1

    def label(cell: Cell) -> Label:
        plain = order(cell)
        if not several:
            return plain
        return Label((*plain.order, cell.source), f"{plain.text} ({cell.source or 'unnamed source'})")

    return label


def natural(text: str) -> tuple[tuple[str, float], ...]:
    """A sort key under which numbers in a text count as numbers: nu=4 before nu=16."""
    return tuple((word, float(number or 0)) for word, number in re.findall(r"([^\d]*)(\d+(?:\.\d+)?)?", text))


def defense_order(defense: str) -> tuple[Any, ...]:
    """A sort key for defenses: the paper's first, in its order, each followed by its variants."""
    base = base_name(defense)
    return _index(DEFENSES, base), base, natural(defense), defense


def group_order(group: Group) -> tuple[Any, ...]:
    """A sort key for groups: the paper's data sets first, in its order."""
    return _index(FAMILIES, group.family), group


def _column_order(column: tuple[Group, str]) -> tuple[Any, ...]:
    group, defense = column
    return *group_order(group), *defense_order(defense)


def _index(known: Sequence[str], name: str) -> int:
    return known.index(name) if name in known else len(known)


def _group_name(group: Group, alike: Sequence[Group]) -> str:
    parts = []
    if len({other.data for other in alike}) > 1:
        parts.append(f"data {group.data[:DIGEST_DIGITS] or 'unknown'}")
    if len({other.images for other in alike}) > 1:
        parts.append(f"n = {group.images:,}")
    if len({other.preset for other in alike}) > 1:
        parts.append(group.preset or "unknown training")
    if len({other.variant for other in alike}) > 1:
        parts.append(group.variant or "default")
    return f"{group.dataset} ({', '.join(parts)})" if parts else group.dataset


def _is_best(entry: Estimate | Finding) -> bool:
    return isinstance(entry, Estimate) and entry.best


def _with_best(places: Places) -> dict[Place, Estimate | Finding]:
    """Mark the best of each row and group among two or more defenses, ties too, unless all tie."""
    contests: dict[tuple[Hashable, ...], list[Place]] = defaultdict(list)
    numbers = {place: entry for place, entry in places.items() if isinstance(entry, Estimate)}
    for place, estimate in numbers.items():
        if estimate.complete:
            contests[place[:2]].append(place)
    winners: set[Place] = set()
    for rivals in contests.values():
        shown = {place: round(numbers[place].value, DECIMALS) for place in rivals}
        if len(set(shown.values())) > 1:
            winners |= {place for place, value in shown.items() if value == max(shown.values())}
    best = {place: dataclasses.replace(estimate, best=place in winners) for place, estimate in numbers.items()}
    return {**places, **best}
