"""The leaderboard's columns: which measures a cell counts in, and what they are called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from harness.records.schema import Record
from harness.types import THREATS

from ..collect.cells import Group
from ..collect.labels import base_name, natural
from ..tables.engine.layout import Label, epsilon_label, summary_group, threat_label
from ..tables.summary import HEADLINE, headlined, size_label
from ..tables.summary import ORDER as SUITES
from ..tables.table1 import ORDER as CORRUPTIONS

TITLES = {
    "clean": "Clean",
    "corruption": "Corruption",
    "adversarial": "Robust",
    "low_resolution": "Low resolution",
    "frequency": "Frequency",
}


class Measure(NamedTuple):
    """A column of the leaderboard."""

    order: tuple[Any, ...]
    group: str
    """Columns of one group are opened together."""
    label: str
    detail: str = ""
    threat: str = ""
    summary: bool = False
    """Whether it is shown while the group is closed."""


def measures_of(records: Sequence[Record]) -> Callable[[Record], list[Measure]]:
    """From a cell to its columns: its suite's mean or worst case, and its own condition where there are several.

    Frequencies have no mean where the headline's were run, which then stand for the suite.
    """
    group, source = group_title(records), source_text(records)
    radius, headline = radius_text(records), headlined(records)
    conditions: dict[str, set[str]] = defaultdict(set)
    for record in records:
        conditions[record.suite].add(record.condition)

    def scored(record: Record) -> list[Measure]:
        start, said = (*suite_order(record), record.n_images), source(record)
        if len(conditions[record.suite]) == 1:
            return [Measure((*start, 0, said), group(record), record.condition, said, summary=True)]
        if record.suite in headline and record.condition in HEADLINE:
            place = list(HEADLINE).index(record.condition)
            return [Measure((*start, 0, said, place), group(record), record.condition, said, summary=True)]
        own = (*start, 1, said, *condition_order(record.condition))
        mean = Measure((*start, 0, said), group(record), "mean", said, summary=True)
        return [*([] if record.suite in headline else [mean]), Measure(own, group(record), record.condition, said)]

    def attacked(record: Record) -> list[Measure]:
        at = radius(record)
        start = (*suite_order(record), record.n_images, threat_label(record).order, *at.order)
        attack = attack_text(record)
        return [
            Measure((*start, 0), group(record), "worst case", at.text, record.threat, summary=True),
            Measure((*start, 1, *condition_order(attack)), group(record), attack, at.text, record.threat),
        ]

    return lambda record: attacked(record) if record.threat in THREATS else scored(record)


def group_title(records: Sequence[Record]) -> Callable[[Record], str]:
    """The suite in words; its parameters and its number of images where it was run with several."""
    size = size_label(records)
    suites: dict[tuple[Group, str], set[str]] = defaultdict(set)
    for record in records:
        suites[summary_group(record), base_name(record.suite)].add(record.suite)

    def title(record: Record) -> str:
        base, _, parameters = record.suite.partition(":")
        variant = f" ({parameters or 'default'})" if len(suites[summary_group(record), base]) > 1 else ""
        return TITLES.get(base, base) + variant + size(record).text

    return title


def source_text(records: Sequence[Record]) -> Callable[[Record], str]:
    """Where a suite's images come from, said where they come from several places: these are never averaged."""
    sources: dict[str, set[str]] = defaultdict(set)
    for record in records:
        sources[record.suite].add(record.source)
    return lambda record: (record.source or "unnamed source") if len(sources[record.suite]) > 1 else ""


def radius_text(records: Sequence[Record]) -> Callable[[Record], Label]:
    """The radius as tables have it, behind the sign that stands in a row's words there."""
    label = epsilon_label([record for record in records if record.threat])

    def radius(record: Record) -> Label:
        plain = label(record)
        return plain._replace(text=f"ε {plain.text}")

    return radius


def attack_text(record: Record) -> str:
    """The condition without its radius: the attack, its stage, and its surrogate gradient."""
    return record.condition.rpartition(" eps=")[0] or record.condition


def suite_order(record: Record) -> tuple[Any, ...]:
    """The paper's suites first."""
    base = base_name(record.suite)
    return SUITES.index(base) if base in SUITES else len(SUITES), base, natural(record.suite)


def condition_order(condition: str) -> tuple[Any, ...]:
    """Corruptions as the paper and the data sets order them, then all else by its name."""
    known = CORRUPTIONS.index(condition) if condition in CORRUPTIONS else len(CORRUPTIONS)
    return known, natural(condition), condition
