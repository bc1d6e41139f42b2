"""The leaderboard's numbers: every measure of every entry, over all seeds and for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from ..collect.cells import Cell, Cells, base_name
from ..statistics.estimates import mean_accuracy, worst_case
from ..statistics.unsmoothed import unchanged
from ..tables.base import DECIMALS, Estimate
from .entries import Entries
from .measures import Measure, measures_of


def board(cells: Cells, entries: Entries) -> dict[str, Any]:
    """columns: the measures · scores: for all seeds (seed null) and each of several, by entry and column, the number.

    A number is [value, low, high, std, seeds, images, conditions, expected conditions], in percent, std null for one
    seed; percentages are rounded as tables show them, so that what looks equal is equal. Where smoothing changed
    nothing, two more follow: of how many smoothed images it left how many as they were.
    """
    shown = [cell for cell in cells if base_name(cell.suite) != "masking"]
    measures = measures_of(shown)
    columns = sorted({measure for cell in shown for measure in measures(cell)})
    members: dict[tuple[int, Measure], list[Cell]] = defaultdict(list)
    for cell in shown:
        for measure in measures(cell):
            members[entries.number(cell), measure].append(cell)
    seeds = sorted({cell.seed for cell in shown})
    return {
        "columns": [_column(measure) for measure in columns],
        "seeds": seeds,
        "scores": [
            {"seed": seed, "values": _values(cells, members, columns, entries, seed)}
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
    cells: Cells,
    members: Mapping[tuple[int, Measure], Sequence[Cell]],
    columns: Sequence[Measure],
    entries: Entries,
    seed: int | None,
) -> dict[int, dict[int, list[float | None]]]:
    """By entry and column, over one seed's cells or all."""
    chosen = {key: [cell for cell in found if seed in (None, cell.seed)] for key, found in members.items()}
    chosen = {key: found for key, found in chosen.items() if found}
    contests = _contests(chosen, entries)
    place = {measure: number for number, measure in enumerate(columns)}
    values: dict[int, dict[int, list[float | None]]] = defaultdict(dict)
    for (entry, measure), found in chosen.items():
        combine = worst_case if measure.threat and measure.summary else mean_accuracy
        estimate = combine(cells, found, contests[_contest(entry, measure, entries)])
        values[entry][place[measure]] = [*_numbers(estimate), *_unchanged(found)]
    return values


def _contests(chosen: Mapping[tuple[int, Measure], Sequence[Cell]], entries: Entries) -> dict[Hashable, list[Cell]]:
    """The cells of all entries of a contest, so that a mean over fewer conditions is seen to be one."""
    contests: dict[Hashable, list[Cell]] = defaultdict(list)
    for (entry, measure), found in chosen.items():
        contests[_contest(entry, measure, entries)] += found
    return contests


def _contest(entry: int, measure: Measure, entries: Entries) -> Hashable:
    found = entries.all[entry]
    return found.dataset, found.backbone, bool(entries.preprocessings[found.preprocess]), measure


def _numbers(estimate: Estimate) -> list[float | None]:
    percents = (estimate.value, estimate.low, estimate.high, estimate.std)
    counts = (estimate.seeds, estimate.images, estimate.conditions, estimate.expected)
    return [*(None if percent is None else round(percent, DECIMALS) for percent in percents), *counts]


def _unchanged(found: Sequence[Cell]) -> Sequence[int]:
    counted = unchanged(found)
    return counted if counted.worth_saying else ()
