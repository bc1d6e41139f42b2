"""Paired comparisons: whether a defense and the undefended network differ on the same images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.metrics import PairedTest, holm, mcnemar, robust_correct
from harness.registry import tables

from ..collect.cells import Cell, Cells, base_name
from ..statistics.attacks import attack_name, furthest
from .base import DECIMALS, Finding, Sentence, Table
from .captions import epsilon_spaces, provenance
from .layout import Label, Place, assemble, backbone_label, epsilon_label, preprocess_label, threat_label
from .summary import summary_group

BASELINE = "vanilla"
SIGNIFICANT = 0.05
Attack = tuple[str, str]
"""An attack as `attack_name` has it."""
CAPTION = Sentence(
    "Difference in accuracy from vanilla of the same seed, in points, on the same images, without and with each "
    "defense's own preprocessing. p: McNemar's exact test, corrected for all comparisons of the table (Holm). "
    f"A star marks p < {SIGNIFICANT}. a : b, images that only the defense, and only vanilla, got right. Robust: right "
    "under every attack of that threat model that all defenses of the row were scored under.",
    short="Difference from vanilla in points, same images. a : b, images that only one of them, and only vanilla, got "
    f"right. A star: p < {SIGNIFICANT} (McNemar, Holm).",
)


class _Comparison(NamedTuple):
    difference: float
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
        chosen = _chosen(cells)
        compared = self._compared(cells, chosen)
        if not compared:
            return None
        corrected = holm([each.test.p_value for each in compared.values()])
        places = {place: _finding(each, p) for (place, each), p in zip(compared.items(), corrected, strict=True)}
        return assemble(
            places,
            name="paired",
            title=f"Paired comparisons with {self.baseline}",
            caption=[_caption(self.baseline), *_space(chosen), *provenance(cells, chosen)],
            row_header=("backbone", "seed", "measure", "preprocess"),
        )

    def _compared(self, cells: Cells, chosen: Sequence[Cell]) -> dict[Place, _Comparison]:
        outcomes = _outcomes(cells, chosen)
        found: dict[Place, _Comparison] = {}
        for place, correct in outcomes.items():
            other = outcomes.get(place._replace(defense=self.baseline))
            if place.defense != self.baseline and other is not None and other.shape == correct.shape:
                found[place] = _Comparison(100 * float(correct.mean() - other.mean()), mcnemar(correct, other))
        return found


def _chosen(cells: Cells) -> list[Cell]:
    """Of the clean suite and under attack."""
    scored = [cell for cell in cells if cell.threat or base_name(cell.suite) == "clean"]
    return [cell for cell in scored if base_name(cell.suite) != "masking"]


def _caption(baseline: str) -> Sentence:
    return Sentence(CAPTION.replace(BASELINE, baseline), short=CAPTION.short.replace(BASELINE, baseline))


def _space(chosen: Sequence[Cell]) -> list[str]:
    return [f"ε in {epsilon_spaces(chosen)} space."] if any(cell.threat for cell in chosen) else []


def _outcomes(cells: Cells, chosen: Sequence[Cell]) -> dict[Place, np.ndarray]:
    """By place, which images were right: of the clean suite, and under every attack of a threat model and ε."""
    epsilon, preprocess = epsilon_label([cell for cell in chosen if cell.threat]), preprocess_label(chosen)
    members: dict[Place, list[Cell]] = defaultdict(list)
    last = furthest(chosen)
    sizes = {(_measure(cell, epsilon).text, cell.n_images) for cell in last}
    for cell in last:
        measure = _measure(cell, epsilon)
        several = sum(text == measure.text for text, _ in sizes) > 1
        sized = Label((*measure.order, cell.n_images), measure.text + (f", n = {cell.n_images:,}" if several else ""))
        row = (backbone_label(cell), Label((cell.seed,), str(cell.seed)), sized, preprocess(cell))
        members[Place(row, summary_group(cell), cell.defense)].append(cell)
    attacks = _shared_attacks(members)
    return {place: survived(cells, found, attacks[place[:2]]) for place, found in members.items() if attacks[place[:2]]}


def _measure(cell: Cell, epsilon: Callable[[Cell], Label]) -> Label:
    if not cell.threat:
        return Label((0, (), ()), "clean")
    radius, threat = epsilon(cell), threat_label(cell)
    return Label((1, radius.order, threat.order), f"robust, {threat.text}, {radius.text}")


def survived(cells: Cells, members: Sequence[Cell], attacks: Collection[Attack]) -> np.ndarray:
    """Which images were right under every one of these attacks, by whichever way it took: [N] bool."""
    return robust_correct([cells.correct(cell) for cell in members if attack_name(cell) in attacks])


def _shared_attacks(members: Mapping[Place, Sequence[Cell]]) -> dict[tuple[Any, ...], set[Attack]]:
    """The attacks that every defense of a row was scored under; only these make a fair comparison."""
    shared: dict[tuple[Any, ...], set[Attack]] = {}
    for place, found in members.items():
        these = {attack_name(cell) for cell in found}
        shared[place[:2]] = shared.get(place[:2], these) & these
    return shared


def _finding(each: _Comparison, p: float) -> Finding:
    star = "*" if p < SIGNIFICANT else ""
    value = "< 0.001" if p < 0.001 else f"= {p:.3f}"
    difference = f"{round(each.difference, DECIMALS) + 0.0:+.{DECIMALS}f}".replace("-", "−")
    return Finding(verdict=difference + star, evidence=f"{each.test.b} : {each.test.c}, p {value}")
