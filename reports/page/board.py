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
    """The leaderboard's columns, seeds and numbers.

    scores: for all seeds (seed null), and for each of several, the numbers by entry and column. A number is [value,
    low, high, std, seeds, images, conditions, expected conditions]: percentages rounded as tables show them, so that
    what looks equal is equal; std null for one seed. Where smoothing changed nothing, two more follow: how many
    images it left as they were, and how many it smoothed.
    """
    records = cells.scores()
    measures = measures_of(records)
    columns = sorted({measure for record in records for measure in measures(record)})
    members: dict[tuple[int, Measure], list[Record]] = defaultdict(list)
    for record in records:
        for measure in measures(record):
            members[entries.number(record), measure].append(record)
    seeds = sorted({record.seed for record in records})
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
    of_seed = {key: [record for record in every if seed in (None, record.seed)] for key, every in members.items()}
    records = {key: some for key, some in of_seed.items() if some}
    contests = _contests(records, entries)
    place = {measure: number for number, measure in enumerate(columns)}
    values: dict[int, dict[int, list[float | None]]] = defaultdict(dict)
    for (entry, measure), some in records.items():
        combine = worst_case if measure.threat and measure.summary else mean_accuracy
        estimate = combine(some, contests[_contest(entry, measure, entries)])
        values[entry][place[measure]] = [*_numbers(estimate), *_unchanged(some)]
    return values


def _contests(
    records: Mapping[tuple[int, Measure], Sequence[Record]], entries: Entries
) -> dict[Hashable, list[Record]]:
    """The cells of all entries of a contest, so that a mean over fewer conditions is seen to be one."""
    contests: dict[Hashable, list[Record]] = defaultdict(list)
    for (entry, measure), some in records.items():
        contests[_contest(entry, measure, entries)] += some
    return contests


def _contest(entry: int, measure: Measure, entries: Entries) -> Hashable:
    row = entries.all[entry]
    return row.dataset, row.backbone, bool(entries.preprocessings[row.preprocess]), measure


def _numbers(estimate: Estimate) -> list[float | None]:
    percents = (estimate.value, estimate.low, estimate.high, estimate.std)
    counts = (estimate.seeds, estimate.images, estimate.conditions, estimate.expected)
    return [*(None if percent is None else round(percent, DECIMALS) for percent in percents), *counts]


def _unchanged(records: Sequence[Record]) -> Sequence[int]:
    counted = unchanged(records)
    return counted if counted.worth_saying else ()
