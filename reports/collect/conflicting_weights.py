"""Networks of one name to which several runs gave different weights; only one of them can count."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from harness.records.schema import Record

from .cells import Network, network_of


class ConflictingWeights(NamedTuple):
    """A network of one name whose weights differ between runs."""

    last: Record
    """The record of it that was used last; its weights count."""
    counted: tuple[str, ...]
    """The runs with these weights."""
    left_out: Mapping[str, int]
    """By run, the number of its records with other weights."""


def conflicting_weights(
    recorded: Sequence[Record], runs: Mapping[str, Iterable[str]]
) -> tuple[ConflictingWeights, ...]:
    """The networks, each a name and a seed, whose latest weights differ between runs.

    recorded: all records, in the order of their last use.
    runs: by run, the identities of its cells, in the same order.
    """
    by_identity = {record.identity: record for record in recorded}
    members = {run: [by_identity[identity] for identity in identities] for run, identities in runs.items()}
    weights: dict[Network, dict[str, str]] = defaultdict(dict)
    for run, records in members.items():
        for record in records:
            weights[network_of(record)][run] = record.weights
    last = {network_of(record): record for record in recorded}
    return tuple(
        _conflict(last[network], by_run, members)
        for network, by_run in weights.items()
        if len(set(by_run.values())) > 1
    )


def _conflict(last: Record, weights: Mapping[str, str], members: Mapping[str, Sequence[Record]]) -> ConflictingWeights:
    """weights: by run, the latest weights of this network."""
    left_out = Counter(
        run
        for run, records in members.items()
        for record in records
        if network_of(record) == network_of(last) and record.weights != last.weights
    )
    counted = tuple(run for run, digest in weights.items() if digest == last.weights)
    return ConflictingWeights(last, counted, dict(left_out))
