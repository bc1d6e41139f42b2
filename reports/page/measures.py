"""The leaderboard's columns: which measures a cell counts in, and what they are called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..collect.cells import Cell, Group, base_name
from ..tables.layout import THREATS, Label, epsilon_label, natural, threat_label
from ..tables.summary import HEADLINE, headlined, size_label, summary_group
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
    """A column. group: the columns that are opened together · summary: shown while the group is closed."""

    order: tuple[Any, ...]
    group: str
    label: str
    detail: str = ""
    threat: str = ""
    summary: bool = False


def measures_of(chosen: Sequence[Cell]) -> Callable[[Cell], list[Measure]]:
    """From a cell to its columns: its suite's mean or worst case, and its own condition where there are several.

    Frequencies have no mean where the headline's were run, which then stand for the suite.
    """
    group, source = group_title(chosen), source_text(chosen)
    radius, headline = radius_text(chosen), headlined(chosen)
    conditions: dict[str, set[str]] = defaultdict(set)
    for cell in chosen:
        conditions[cell.suite].add(cell.condition)

    def scored(cell: Cell) -> list[Measure]:
        start, said = (*suite_order(cell), cell.n_images), source(cell)
        if len(conditions[cell.suite]) == 1:
            return [Measure((*start, 0, said), group(cell), cell.condition, said, summary=True)]
        if cell.suite in headline and cell.condition in HEADLINE:
            place = list(HEADLINE).index(cell.condition)
            return [Measure((*start, 0, said, place), group(cell), cell.condition, said, summary=True)]
        own = (*start, 1, said, *condition_order(cell.condition))
        mean = Measure((*start, 0, said), group(cell), "mean", said, summary=True)
        return [*([] if cell.suite in headline else [mean]), Measure(own, group(cell), cell.condition, said)]

    def attacked(cell: Cell) -> list[Measure]:
        at = radius(cell)
        start = (*suite_order(cell), cell.n_images, threat_label(cell).order, *at.order)
        attack = attack_text(cell)
        return [
            Measure((*start, 0), group(cell), "worst case", at.text, cell.threat, summary=True),
            Measure((*start, 1, *condition_order(attack)), group(cell), attack, at.text, cell.threat),
        ]

    return lambda cell: attacked(cell) if cell.threat in THREATS else scored(cell)


def group_title(chosen: Sequence[Cell]) -> Callable[[Cell], str]:
    """The suite in words; its parameters and its number of images where it was run with several."""
    size = size_label(chosen)
    suites: dict[tuple[Group, str], set[str]] = defaultdict(set)
    for cell in chosen:
        suites[summary_group(cell), base_name(cell.suite)].add(cell.suite)

    def title(cell: Cell) -> str:
        base, _, parameters = cell.suite.partition(":")
        variant = f" ({parameters or 'default'})" if len(suites[summary_group(cell), base]) > 1 else ""
        return TITLES.get(base, base) + variant + size(cell).text

    return title


def source_text(chosen: Sequence[Cell]) -> Callable[[Cell], str]:
    """Where a suite's images come from, said where they come from several places: these are never averaged."""
    sources: dict[str, set[str]] = defaultdict(set)
    for cell in chosen:
        sources[cell.suite].add(cell.source)
    return lambda cell: (cell.source or "unnamed source") if len(sources[cell.suite]) > 1 else ""


def radius_text(chosen: Sequence[Cell]) -> Callable[[Cell], Label]:
    """The radius as tables have it, behind the sign that stands in a row's words there."""
    label = epsilon_label([cell for cell in chosen if cell.threat])

    def radius(cell: Cell) -> Label:
        plain = label(cell)
        return plain._replace(text=f"ε {plain.text}")

    return radius


def attack_text(cell: Cell) -> str:
    """The condition without its radius: the attack, its stage, and its way through the preprocessing."""
    return cell.condition.rpartition(" eps=")[0] or cell.condition


def suite_order(cell: Cell) -> tuple[Any, ...]:
    """The paper's suites first."""
    base = base_name(cell.suite)
    return SUITES.index(base) if base in SUITES else len(SUITES), base, natural(cell.suite)


def condition_order(condition: str) -> tuple[Any, ...]:
    """Corruptions as the paper and the data sets order them, then all else by its name."""
    known = CORRUPTIONS.index(condition) if condition in CORRUPTIONS else len(CORRUPTIONS)
    return known, natural(condition), condition
