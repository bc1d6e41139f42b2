"""A network scored behind several preprocessors: tables keep them apart."""

from __future__ import annotations

import numpy as np
import pytest
from support.report_samples import N, Recording, masking

BEHIND = ("none", "blur", "virolbi")


def scored(**given) -> Recording:
    """Two networks behind each preprocessor, of which each leaves another number of images right."""
    recording = Recording()
    for defense, lost in (("vanilla", 0), ("pni", 20)):
        for preprocess, count in zip(BEHIND, (160, 80, 120), strict=True):
            recording.add(defense=defense, preprocess=preprocess, **given)
            recording.outcomes[recording.rows[-1]["identity"]] = np.arange(N) < count - lost
            recording.rows[-1]["n_correct"] = count - lost
    return recording


def test_paired_comparisons_are_made_behind_each_by_itself():
    table = scored().table("paired")

    assert [row.labels[-1] for row in table.rows] == ["without", "with blur", "with virolbi"]
    assert [row.entries[0].evidence.split(",")[0] for row in table.rows] == ["0 : 20"] * 3


def test_forms_of_a_suite_that_are_paired_together_keep_theirs_apart():
    recording = Recording()
    for suite, preprocess in (("clean", "blur"), ("clean:limit=200", "virolbi")):
        for defense in ("vanilla", "pni"):
            recording.add(defense=defense, suite=suite, preprocess=preprocess)

    assert [row.labels[-1] for row in recording.table("paired").rows] == ["with blur", "with virolbi"]


def test_corruption_errors_are_taken_behind_each_by_itself():
    table = scored(suite="corruption", condition="snow", severity=1).table("mce")

    found = {row.labels[2]: [entry.verdict for entry in row.entries] for row in table.rows}
    assert found == {
        "without": ["100.0", "150.0"],
        "with blur": ["300.0", "350.0"],
        "with virolbi": ["200.0", "250.0"],
    }


def test_masking_checks_are_passed_behind_each_by_itself():
    honest, masked = masking(), masking({("pgd", 128): 0.5}, preprocess="blur")
    for row in masked.rows:
        identity = f"masked {row['identity']}"
        honest.outcomes[identity] = masked.outcomes[row["identity"]]
        honest.rows.append({**row, "identity": identity})

    found = {row.labels[2:]: row.entries[0].verdict for row in honest.table("masking").rows}

    assert found["with virolbi", "nothing left at large ε"] == "pass"
    assert found["with blur", "nothing left at large ε"] == "FAIL"
    assert len(found) == 14


@pytest.mark.parametrize(("table", "place"), [("paired", 3), ("mce", 2)])
def test_one_preprocessor_each_goes_without_a_name(table, place):
    recording = Recording()
    for defense, preprocess in (("vanilla", "virolbi"), ("blur", "blur")):
        for kind in ("none", preprocess):
            recording.add(defense=defense, preprocess=kind)
            recording.add(defense=defense, preprocess=kind, suite="corruption", condition="snow", severity=1)

    assert [row.labels[place] for row in recording.table(table).rows] == ["without", "with"]
