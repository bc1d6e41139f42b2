"""The table `paired`: whether a defense and the undefended network differ on the same images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.metrics import PairedTest, holm, mcnemar
from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells
from ..collect.labels import base_name
from ..sentence import Sentence
from ..statistics.attack_coverage import Attack, attack_name, furthest
from ..statistics.estimates import correct_in_all
from .engine.base import Finding, Table, signed
from .engine.captions import epsilon_sentence, provenance
from .engine.layout import (
    Label,
    Place,
    assemble,
    backbone_label,
    epsilon_label,
    preprocess_label,
    summary_group,
    threat_label,
)

BASELINE = "vanilla"
SIGNIFICANT = 0.05
CAPTION = Sentence(
    "Difference in accuracy from vanilla of the same seed, in points, on the same images; without and with each "
    "defense's own preprocessing. p: McNemar's exact test, corrected for all comparisons of the table (Holm). "
    f"A star marks p < {SIGNIFICANT}. a : b, images that only the defense, and only vanilla, got right. "
    "Robust: right under every attack of that threat model that all defenses of the row were scored under.",
    short="Difference from vanilla in points, same images. a : b, images that only one of them, and only vanilla, got "
    f"right. A star: p < {SIGNIFICANT} (McNemar, Holm). Robust: under the attacks that all of the row were scored "
    "under.",
)


class _Comparison(NamedTuple):
    """A defense against the baseline."""

    difference: float
    """In percentage points."""
    test: PairedTest


@tables.register("paired")
class PairedTests:
    """Every defense against vanilla on the same images: clean, and robust per threat model; McNemar's test, corrected.

    baseline: the defense that others are compared with
    """

    def __init__(self, *, baseline: str = BASELINE) -> None:
        self.baseline = baseline

    def build(self, cells: Cells) -> Table | None:
        """The table, None without the baseline or anything to compare with it."""
        records = [record for record in cells.scores() if record.threat or base_name(record.suite) == "clean"]
        compared = self._compared(records)
        if not compared:
            return None
        corrected = holm([each.test.p_value for each in compared.values()])
        places = {place: _finding(each, p) for (place, each), p in zip(compared.items(), corrected, strict=True)}
        caption, short = (text.replace(BASELINE, self.baseline) for text in (CAPTION, CAPTION.short))
        return assemble(
            places,
            name="paired",
            title=f"Paired comparisons with {self.baseline}",
            caption=[Sentence(caption, short=short), *epsilon_sentence(records), *provenance(cells, records)],
            row_header=("backbone", "seed", "measure", "preprocess"),
        )

    def _compared(self, records: Sequence[Record]) -> dict[Place, _Comparison]:
        outcomes = _outcomes(records)
        compared: dict[Place, _Comparison] = {}
        for place, correct in outcomes.items():
            other = outcomes.get(place._replace(column=self.baseline))
            if place.column != self.baseline and other is not None and other.shape == correct.shape:
                compared[place] = _Comparison(100 * float(correct.mean() - other.mean()), mcnemar(correct, other))
        return compared


def _outcomes(records: Sequence[Record]) -> dict[Place, np.ndarray]:
    """By place, which images are correct: of the clean suite, and under every attack of a threat model and ε."""
    epsilon, preprocess = epsilon_label([record for record in records if record.threat]), preprocess_label(records)
    members: dict[Place, list[Record]] = defaultdict(list)
    last = furthest(records)
    sizes = {(_measure(record, epsilon).text, record.n_images) for record in last}
    for record in last:
        measure = _measure(record, epsilon)
        several = sum(text == measure.text for text, _ in sizes) > 1
        sized = Label(
            (*measure.order, record.n_images), measure.text + (f", n = {record.n_images:,}" if several else "")
        )
        row = (backbone_label(record), Label((record.seed,), str(record.seed)), sized, preprocess(record))
        members[Place(row, summary_group(record), record.defense)].append(record)
    attacks = _shared_attacks(members)
    return {place: survived(here, attacks[place.contest]) for place, here in members.items() if attacks[place.contest]}


def _measure(record: Record, epsilon: Callable[[Record], Label]) -> Label:
    if not record.threat:
        return Label((0, (), ()), "clean")
    radius, threat = epsilon(record), threat_label(record)
    return Label((1, radius.order, threat.order), f"robust, {threat.text}, {radius.text}")


def survived(members: Sequence[Record], attacks: Collection[Attack]) -> np.ndarray:
    """Which images are correct under all of these attacks, with every surrogate gradient that was used: [N] bool."""
    return correct_in_all(record for record in members if attack_name(record) in attacks)


def _shared_attacks(members: Mapping[Place, Sequence[Record]]) -> dict[tuple[Any, ...], set[Attack]]:
    """The attacks that every defense of a row was scored under; a comparison under others would not be fair."""
    shared: dict[tuple[Any, ...], set[Attack]] = {}
    for place, here in members.items():
        these = {attack_name(record) for record in here}
        shared[place.contest] = shared.get(place.contest, these) & these
    return shared


def _finding(each: _Comparison, p: float) -> Finding:
    star = "*" if p < SIGNIFICANT else ""
    value = "< 0.001" if p < 0.001 else f"= {p:.3f}"
    return Finding(verdict=signed(each.difference) + star, evidence=f"{each.test.b} : {each.test.c}, p {value}")
