"""The records that tables are made from, in a fixed order and without superseded ones."""

from __future__ import annotations

import dataclasses
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from harness.errors import UserError
from harness.records.exhibits import Exhibit
from harness.records.schema import Record

from .labels import base_name, parameters_text


class Group(NamedTuple):
    """What two records must have in common to be compared."""

    family: str
    dataset: str
    data: str
    """Digest of the test images; "" where the data set's name and the number of images identify them."""
    images: int
    preset: str
    variant: str
    """The suite's parameters, "limit=200" for "adversarial:limit=200"."""


Network = tuple[str, str, str, str, str, str, int]
"""Data set, family, data, preset, backbone, defense and seed."""
NO_EXHIBITS: Mapping[str, Exhibit] = types.MappingProxyType({})
NONE_UNFINISHED: Mapping[str, tuple[int, int]] = types.MappingProxyType({})


def group_of(record: Record) -> Group:
    """The group of a record."""
    variant = parameters_text(record.suite)
    return Group(record.family, record.dataset, record.data, record.n_images, record.preset, variant)


def training_of(record: Record) -> tuple[str, str, str, str, str, str]:
    """What the networks of all seeds have in common."""
    return record.dataset, record.family, record.data, record.preset, record.backbone, record.defense


def network_of(record: Record) -> Network:
    """The trained network that a record is of."""
    return *training_of(record), record.seed


def model_of(record: Record) -> tuple[Any, ...]:
    """The trained network with the preprocessing before it."""
    return *network_of(record), record.preprocess


def perturbation_of(record: Record) -> tuple[Any, ...]:
    """What was done to the images; a mean counts each perturbation once."""
    severity, epsilon = record.severity or 0, record.epsilon or 0.0
    return record.condition, severity, record.source, record.threat, record.attack, epsilon


def setting_of(record: Record) -> tuple[Any, ...]:
    """Everything by which tables tell records apart."""
    scored = (record.n_images, record.suite, record.epsilon_space, record.norm, record.preprocess)
    return *network_of(record), *scored, *perturbation_of(record)


class Cells:
    """The records that tables are made from, one for each setting.

    Records of one setting are not mixed, for example those of a network that was trained again with other epochs.
    Of several networks, and of several records, the one used last counts. Seeds whose networks have equal weights
    are one network, under the lowest of these seeds.
    """

    def __init__(
        self,
        records: Iterable[Record],
        exhibits: Mapping[str, Exhibit] = NO_EXHIBITS,
        contested: Iterable[str] = (),
        unfinished: Mapping[str, tuple[int, int]] = NONE_UNFINISHED,
    ) -> None:
        """`records`: in the order of their last use; the other arguments are kept, see the attributes.

        Raises: UserError when there are no records.
        """
        self.recorded = tuple(_without_needless_data(list(records)))
        """All of them, in the order of their last use."""
        if not self.recorded:
            raise UserError("no recorded cells to make tables from. Run `python -m harness run` first.")
        latest = _latest(self.recorded)
        self.superseded = len(self.recorded) - len(latest)
        """How many records a later used one replaced."""
        self.twins = _twins(latest)
        """By network, all the seeds whose networks have its weights, where these are several."""
        merged = _merged(latest, self.twins)
        self._records = tuple(sorted(merged, key=lambda record: (*setting_of(record), record.identity)))
        self.exhibits = exhibits
        """What was measured beside the records, for example Table 7's seconds."""
        self.contested = frozenset(contested)
        """The identities of cells that several runs recorded with different predictions."""
        self.unfinished = unfinished
        """By run, how many of its planned cells are recorded, and how many were planned."""

    def __repr__(self) -> str:
        return f"<Cells: {len(self._records)} current, {self.superseded} superseded>"

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def of_suite(self, name: str) -> list[Record]:
        """The records of one suite, whatever its parameters."""
        return [record for record in self._records if base_name(record.suite) == name]

    def scores(self) -> list[Record]:
        """The records that say how good a model is, without diagnostics."""
        return [record for record in self._records if record.purpose == "score"]

    def diagnostics(self) -> list[Record]:
        """The records that check attacks."""
        return [record for record in self._records if record.purpose == "diagnostic"]


def _without_needless_data(records: list[Record]) -> list[Record]:
    """The records, with a digest of the data only where one data set and number of images have several digests.

    A digest depends on the number of images: 128 and 256 images of one data set have different digests.
    """
    digests: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for record in records:
        digests[record.dataset, record.family, record.n_images].add(record.data)
    ambiguous = {key[:2] for key, several in digests.items() if len(several) > 1}
    return [
        record if (record.dataset, record.family) in ambiguous else dataclasses.replace(record, data="")
        for record in records
    ]


def _latest(records: Sequence[Record]) -> list[Record]:
    """Of each setting the record used last, of the network used last."""
    weights = {network_of(record): record.weights for record in records}
    current = [record for record in records if record.weights == weights[network_of(record)]]
    return list({setting_of(record): record for record in current}.values())


def _twins(records: Iterable[Record]) -> dict[Network, tuple[int, ...]]:
    """By network, the seeds whose networks have its weights, where there are several."""
    seeds: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for record in records:
        if record.weights:
            seeds[*training_of(record), record.weights].add(record.seed)
    several = {key: tuple(sorted(equal)) for key, equal in seeds.items() if len(equal) > 1}
    return {(*key[:-1], seed): equal for key, equal in several.items() for seed in equal}


def _merged(records: Iterable[Record], twins: Mapping[Network, tuple[int, ...]]) -> list[Record]:
    """The records, those of equal networks under the lowest of their seeds and once."""
    merged = [
        dataclasses.replace(record, seed=min(twins[network])) if (network := network_of(record)) in twins else record
        for record in records
    ]
    return list({setting_of(record): record for record in merged}.values())
