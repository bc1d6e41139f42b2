"""The rows and columns of a table: where a record belongs, their labels and order, and which value is the best."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from harness.metrics import show_epsilon
from harness.records.schema import Record
from harness.types import THREATS

from ...collect.cells import Group, group_of
from ...collect.labels import base_name, natural, position
from ...paper.numbers import BACKBONES, DEFENSES, FAMILIES, PaperNumber
from ...sentence import Sentence
from ...statistics.estimates import Combine, Estimate
from .base import DECIMALS, Column, PlaceValue, Row, Table

DIGEST_DIGITS = 6
"""The characters of a digest that tell data sets of one name apart."""
BOLD = Sentence(
    "Bold: the highest of its row and data set. The table `paired` says whether it leads significantly.",
    short="Bold: the highest (`paired`: whether significantly).",
)


class Label(NamedTuple):
    """A row label."""

    order: tuple[Any, ...]
    """A sort key among labels of its kind."""
    text: str


WITHOUT = Label((0,), "without")
"""The label of images that were not preprocessed."""


class Place(NamedTuple):
    """A row, a group of columns and a column in it."""

    row: tuple[Label, ...]
    group: Group
    column: str

    @property
    def contest(self) -> tuple[tuple[Label, ...], Group]:
        """What places share among which the best is sought."""
        return self.row, self.group


Places = Mapping[Place, PlaceValue]
RowOf = Callable[[Record], tuple[Label, ...]]
PaperOf = Callable[[Sequence[Record]], PaperNumber | None]


def fill(
    records: Iterable[Record],
    *,
    row: RowOf,
    combine: Combine,
    paper: PaperOf,
    group: Callable[[Record], Group] = group_of,
    column: Callable[[Record], str] = attrgetter("defense"),
) -> dict[Place, Estimate]:
    """Sort records into places and estimate each place.

    row, group, column: from a record to its place.
    combine: from a place's records to its estimate; the records of the whole row tell which conditions are missing.
    paper: from a place's records to the paper's number.
    """
    records = list(records)
    seeds = len({record.seed for record in records})
    members: dict[Place, list[Record]] = defaultdict(list)
    rows: dict[tuple[Hashable, ...], list[Record]] = defaultdict(list)
    for record in records:
        place = Place(row(record), group(record), column(record))
        members[place].append(record)
        rows[place.contest].append(record)
    return {
        place: dataclasses.replace(combine(here, rows[place.contest]), paper=paper(here), expected_seeds=seeds)
        for place, here in members.items()
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
    """The table with its rows and columns in order; None where nothing was run, and the best of each contest marked."""
    places = _with_best(places)
    rows = sorted({place.row for place in places})
    columns = sorted({(place.group, place.column) for place in places}, key=_column_order)
    named = group_names(group for group, _ in columns)
    return Table(
        name=name,
        title=title,
        caption=(
            *caption,
            *([BOLD] if any(isinstance(each, Estimate) and each.best for each in places.values()) else []),
        ),
        row_header=row_header,
        column_header=column_header,
        columns=tuple(Column(named[group], defense) for group, defense in columns),
        rows=tuple(
            Row(tuple(label.text for label in row), tuple(places.get(Place(row, *column)) for column in columns))
            for row in rows
        ),
    )


def group_names(groups: Iterable[Group]) -> dict[Group, str]:
    """The name of each group: its data set, with what tells it from other groups of that data set."""
    of_dataset: dict[str, set[Group]] = defaultdict(set)
    for group in groups:
        of_dataset[group.dataset].add(group)
    return {group: _group_name(group, several) for several in of_dataset.values() for group in several}


def summary_group(record: Record) -> Group:
    """The group of a record in tables whose row labels hold the number of images and the suite's parameters."""
    return group_of(record)._replace(images=0, variant="")


def backbone_label(record: Record) -> Label:
    """The backbone, the paper's first."""
    return Label((position(BACKBONES, base_name(record.backbone)), natural(record.backbone)), record.backbone)


def preprocess_label(records: Sequence[Record]) -> Callable[[Record], Label]:
    """“without” or “with” preprocessing; “with NAME” where some defense was scored with several preprocessors.

    Preprocessors are counted over all parameters of a suite, since some tables show these side by side.
    """
    used: dict[tuple[Hashable, ...], set[str]] = defaultdict(set)
    for record in records:
        if record.preprocessed:
            scored = (summary_group(record), record.backbone, record.defense, record.threat)
            used[scored].add(record.preprocess)
    several = any(len(names) > 1 for names in used.values())

    def label(record: Record) -> Label:
        if not record.preprocessed:
            return WITHOUT
        return Label((1,), f"with {record.preprocess}" if several else "with")

    return label


def epsilon_label(records: Sequence[Record]) -> Callable[[Record], Label]:
    """ε such as “8/255 pixel”: the radius, its space, and its norm where there are several."""
    several = len({record.norm for record in records}) > 1

    def label(record: Record) -> Label:
        epsilon = record.epsilon or 0.0
        words = [show_epsilon(epsilon), record.epsilon_space, record.norm if several else ""]
        return Label((record.norm, record.epsilon_space, epsilon), " ".join(filter(None, words)))

    return label


def threat_label(record: Record) -> Label:
    """The threat model, the one that knows least first."""
    return Label((position(THREATS, record.threat),), record.threat)


def source_label(records: Sequence[Record], label: Callable[[Record], Label]) -> Callable[[Record], Label]:
    """The same label, with the source of the images where there are several sources."""
    if len({record.source for record in records}) < 2:
        return label

    def with_source(record: Record) -> Label:
        order, text = label(record)
        return Label((*order, record.source), f"{text} ({record.source or 'unnamed source'})")

    return with_source


def defense_order(defense: str) -> tuple[Any, ...]:
    """A sort key for defenses: the paper's first, in its order, each followed by its variants."""
    base = base_name(defense)
    return position(DEFENSES, base), base, natural(defense), defense


def group_order(group: Group) -> tuple[Any, ...]:
    """A sort key for groups: the paper's data sets first, in its order."""
    return position(FAMILIES, group.family), group


def _column_order(column: tuple[Group, str]) -> tuple[Any, ...]:
    group, defense = column
    return *group_order(group), *defense_order(defense)


def _group_name(group: Group, of_dataset: Collection[Group]) -> str:
    parts = []
    if len({other.data for other in of_dataset}) > 1:
        parts.append(f"data {group.data[:DIGEST_DIGITS] or 'unknown'}")
    if len({other.images for other in of_dataset}) > 1:
        parts.append(f"n = {group.images:,}")
    if len({other.preset for other in of_dataset}) > 1:
        parts.append(group.preset or "unknown training")
    if len({other.variant for other in of_dataset}) > 1:
        parts.append(group.variant or "default")
    return f"{group.dataset} ({', '.join(parts)})" if parts else group.dataset


def _with_best(places: Places) -> dict[Place, PlaceValue]:
    """The places with the best estimates of each row and group marked, unless all are equal."""
    contests: dict[tuple[Hashable, ...], list[Place]] = defaultdict(list)
    estimates = {place: value for place, value in places.items() if isinstance(value, Estimate)}
    for place, estimate in estimates.items():
        if estimate.complete:
            contests[place.contest].append(place)
    winners: set[Place] = set()
    for contest in contests.values():
        values = {place: round(estimates[place].value, DECIMALS) for place in contest}
        if len(set(values.values())) > 1:
            winners |= {place for place, value in values.items() if value == max(values.values())}
    best = {place: dataclasses.replace(estimate, best=place in winners) for place, estimate in estimates.items()}
    return {**places, **best}
