"""The leaderboard's numbers: every measure of every entry, over all seeds and for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from harness.records.schema import Record

from ..collect.cells import Cells
from ..statistics.estimates import Estimate, mean_accuracy, worst_case
from ..statistics.unchanged_images import unchanged
from ..tables.engine.base import DECIMALS
from .entries import Entries
from .measures import Measure, measures_of


def board(cells: Cells, entries: Entries) -> dict[str, Any]:
    """columns: the measures · scores: for all seeds (seed null) and each of several, by entry and column, the number.

    A number is [value, low, high, std, seeds, images, conditions, expected conditions], in percent, std null for one
    seed; percentages are rounded as tables show them, so that what looks equal is equal. Where smoothing changed
    nothing, two more follow: of how many smoothed images it left how many as they were.
    """
    shown = cells.scores()
    measures = measures_of(shown)
    columns = sorted({measure for record in shown for measure in measures(record)})
    members: dict[tuple[int, Measure], list[Record]] = defaultdict(list)
    for record in shown:
        for measure in measures(record):
            members[entries.number(record), measure].append(record)
    seeds = sorted({record.seed for record in shown})
    return {
        "columns": [_column(measure) for measure in columns],
        "seeds": seeds,
        "scores": [
            {"seed": seed, "values": _values(members, columns, entries, seed)}
            for seed in ([None, *seeds] if len(seeds) > 1 else [None])
        ],
    }


def _column(measure: Measure) -> dict[str, Any]:
    return {
        "group": measure.group,
        "label": measure.label,
        "detail": measure.detail,
        "threat": measure.threat,
        "summary": measure.summary,
    }


def _values(
    members: Mapping[tuple[int, Measure], Sequence[Record]],
    columns: Sequence[Measure],
    entries: Entries,
    seed: int | None,
) -> dict[int, dict[int, list[float | None]]]:
    """By entry and column, over one seed's cells or all."""
    records = {key: [record for record in found if seed in (None, record.seed)] for key, found in members.items()}
    records = {key: found for key, found in records.items() if found}
    contests = _contests(records, entries)
    place = {measure: number for number, measure in enumerate(columns)}
    values: dict[int, dict[int, list[float | None]]] = defaultdict(dict)
    for (entry, measure), found in records.items():
        combine = worst_case if measure.threat and measure.summary else mean_accuracy
        estimate = combine(found, contests[_contest(entry, measure, entries)])
        values[entry][place[measure]] = [*_numbers(estimate), *_unchanged(found)]
    return values


def _contests(
    records: Mapping[tuple[int, Measure], Sequence[Record]], entries: Entries
) -> dict[Hashable, list[Record]]:
    """The cells of all entries of a contest, so that a mean over fewer conditions is seen to be one."""
    contests: dict[Hashable, list[Record]] = defaultdict(list)
    for (entry, measure), found in records.items():
        contests[_contest(entry, measure, entries)] += found
    return contests


def _contest(entry: int, measure: Measure, entries: Entries) -> Hashable:
    found = entries.all[entry]
    return found.dataset, found.backbone, bool(entries.preprocessings[found.preprocess]), measure


def _numbers(estimate: Estimate) -> list[float | None]:
    percents = (estimate.value, estimate.low, estimate.high, estimate.std)
    counts = (estimate.seeds, estimate.images, estimate.conditions, estimate.expected)
    return [*(None if percent is None else round(percent, DECIMALS) for percent in percents), *counts]


def _unchanged(found: Sequence[Record]) -> Sequence[int]:
    counted = unchanged(found)
    return counted if counted.worth_saying else ()
