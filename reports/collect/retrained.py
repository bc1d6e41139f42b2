"""Networks that several runs took for the same and trained to other weights, of which one alone can count."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .cells import Cell


class Retrained(NamedTuple):
    """A network under one name whose weights are other ones in other runs.

    shown: its data set, backbone, defense and seed · counted: the runs with the weights that were used last, which
    count · left_out: by run, how many cells of other weights it has.
    """

    shown: Mapping[str, Any]
    counted: tuple[str, ...]
    left_out: Mapping[str, int]


def retrained(recorded: Sequence[Cell], runs: Mapping[str, Iterable[str]]) -> tuple[Retrained, ...]:
    """The networks that the reports of single runs would not all show with the same weights.

    recorded: all cells in the order of their last use · runs: by run, the identities of its cells, in that order.
    """
    by_identity = {cell.identity: cell for cell in recorded}
    members = {run: [by_identity[identity] for identity in identities] for run, identities in runs.items()}
    own: dict[tuple[Any, ...], dict[str, str]] = defaultdict(dict)
    for run, cells in members.items():
        for cell in cells:
            own[cell.network][run] = cell.weights
    last = {cell.network: cell for cell in recorded}
    return tuple(
        _retrained(last[network], by_run, members) for network, by_run in own.items() if len(set(by_run.values())) > 1
    )


def _retrained(last: Cell, weights: Mapping[str, str], members: Mapping[str, Sequence[Cell]]) -> Retrained:
    """weights: by run, those of the network that its own report would show."""
    left_out = Counter(
        run
        for run, cells in members.items()
        for cell in cells
        if cell.network == last.network and cell.weights != last.weights
    )
    return Retrained(
        {"dataset": last.dataset, "backbone": last.backbone, "defense": last.defense, "seed": last.seed},
        tuple(run for run, digest in weights.items() if digest == last.weights),
        dict(left_out),
    )
