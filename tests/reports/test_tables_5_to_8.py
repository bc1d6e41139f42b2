"""Tables 5, 6 and 8: which cells stand where, and which of the paper's numbers beside them."""

from __future__ import annotations

import numpy as np
import pytest
from support.report_samples import N, Recording, estimates, labels

from harness.registry import tables

IMAGENET = {"dataset": "imagenet100", "family": "imagenet100", "backbone": "resnet50:pretrained=true"}


def papers(table):
    """By level or other second label, the paper's number of the first column, where there is one."""
    return {row.labels[1]: row.entries[0].paper.accuracy for row in table.rows if row.entries[0].paper}


# Tables 5 and 6


def test_each_level_is_a_row_between_the_papers_ends():
    recording = Recording()
    for defense in ("virolbi_iterative", "vanilla", "virolbi_fixed", "virolbi_fixed:level=0.4"):
        for preprocess in ("none", "virolbi"):
            recording.add(0.8, defense=defense, preprocess=preprocess)

    table = recording.table("table5")

    levels = ("0.4", "0.6", "1.0", "0.3..0.8")
    assert labels(table) == [("resnet18", level, kind) for level in levels for kind in ("without", "with")]
    assert papers(table) == {"0.4": 85.24, "0.6": 93.82, "1.0": 95.29, "0.3..0.8": 94.54}
    assert all(row.entries[0].paper is None for row in table.rows if row.labels[2] == "with")
    assert (table.column_header, [column.name for column in table.columns]) == (("dataset", "training"), ["virolbi"])


def test_other_couplings_stand_in_a_column_without_the_papers_numbers():
    recording = Recording()
    for defense in ("virolbi_fixed:level=0.5", "virolbi_fixed:nu=16,level=0.5", "virolbi_iterative:steps=3"):
        recording.add(0.8, defense=defense)

    table = recording.table("table5")

    assert [column.name for column in table.columns] == ["virolbi", "virolbi:nu=16", "virolbi:steps=3"]
    plain, coupled, _ = estimates(table, "0.5")
    assert (plain.paper.accuracy, coupled.paper) == (92.47, None)
    assert [entry is None for entry in estimates(table, "0.3..0.8")] == [True, True, False]


def test_imagenet100_is_table_6_where_level_03_is_its_own():
    recording = Recording()
    for defense in ("virolbi_fixed:level=0.3", "virolbi_fixed:level=0.8", "virolbi_iterative:level=0.3"):
        recording.add(0.7, defense=defense, **IMAGENET)

    table = recording.table("table6")

    assert papers(table) == {"0.8": 78.66, "0.3..0.8": 74.39}
    assert [label[1] for label in labels(table)] == ["0.3", "0.8", "0.3..0.8"]
    assert tables.create("table5").build(recording.cells()) is None


def test_iterative_training_that_stops_is_a_row_of_its_own_without_a_number_of_the_papers():
    recording = Recording()
    for defense in ("virolbi_iterative_stopped", "virolbi_iterative", "virolbi_fixed"):
        recording.add(0.8, defense=defense)

    table = recording.table("table5")

    assert [label[1] for label in labels(table)] == ["0.6", "0.3..0.8", "..0.6"]
    assert papers(table).keys() == {"0.6", "0.3..0.8"}


def test_networks_that_differ_in_the_level_of_their_test_alone_are_not_mixed():
    recording = Recording()
    recording.add(0.8, defense="virolbi_iterative")
    recording.add(0.2, defense="virolbi_iterative:level=0.4")

    (row,) = recording.table("table5").rows

    assert [entry.value for entry in row.entries] == [80.0, 20.0]


def test_vanilla_alone_is_no_table_of_levels():
    recording = Recording()
    recording.add()

    assert tables.create("table5").build(recording.cells()) is None


# Table 8


def against_attacks(**given):
    recording = Recording()
    for defense in ("adversarial_training", "pni", "virolbi_fixed"):
        recording.attack(0.4, defense=defense, **given)
        recording.attack(0.5, defense=defense, preprocess="virolbi", **given)
        recording.attack(0.2, defense=defense, preprocess="virolbi", threat="adaptive", **given)
    return recording


def test_the_papers_table_8_stands_beside_bare_pgd_only():
    table = against_attacks().table("table8")

    assert [label[2:] for label in labels(table)] == [("bare", "without"), ("bare", "with"), ("adaptive", "with")]
    assert [column.name for column in table.columns] == ["pni", "virolbi_fixed", "adversarial_training"]
    found = [[entry.paper and entry.paper.accuracy for entry in row.entries] for row in table.rows]
    assert found == [[41.07, 37.23, 43.50], [51.21, 51.19, None], [None, None, None]]
    assert "43.50 for adversarial training is probably an FGSM accuracy" in " ".join(table.caption)


@pytest.mark.parametrize("given", [{"attack": "fgsm"}, {"epsilon": 16}, {"norm": "L2"}, {"attack": "pgd:steps=50"}])
def test_other_attacks_and_radii_stay_out_of_table_8(given):
    assert tables.create("table8").build(against_attacks(**given).cells()) is None


def test_an_adaptive_attack_counts_by_every_way_it_took():
    recording = against_attacks()
    way = {"threat": "adaptive", "preprocess": "virolbi", "condition": "pgd via unrolled eps=8/255"}
    recording.attack(0.2, defense="virolbi_fixed", gradient="unrolled", **way)
    by_one, by_other = (row["identity"] for row in recording.rows[-2:])
    by_one = recording.rows[8]["identity"]

    pni, fixed, _ = recording.table("table8").rows[-1].entries

    survived = np.mean(recording.outcomes[by_one] & recording.outcomes[by_other])
    assert (fixed.value, fixed.images) == (pytest.approx(100 * survived), N)
    assert fixed.complete
    assert (pni.conditions, pni.expected) == (1, 2)  # of the ways through the same preprocessing
