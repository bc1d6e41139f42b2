"""Table 7: from what `bench projection` keeps."""

from __future__ import annotations

import numpy as np
import pytest
from support.report_samples import Recording

from harness.records.exhibits import Exhibit, Exhibits, save_exhibit
from harness.registry import tables
from reports import Cells
from reports.tables.engine.base import Finding

ABOUT = {
    "image": "astronaut of scikit-image",
    "size": 84,
    "iterations": 15_000,
    "nu": 1.0,
    "kappa": 5.0,
    "threads": 1,
    "device": "Some CPU",
    "run": "2026-11-21T13:00:00",
    "measured": {"graph": 15_000, "svd": 1},
}
SECONDS = {"graph": np.array([2.0, 3.0]), "svd": np.array([5000.0])}


def table(folder, **about):
    save_exhibit(folder, Exhibit("projection", SECONDS, ABOUT | about))
    recording = Recording()
    recording.add()
    cells = Cells(recording.records(), Exhibits([folder]))
    return tables.create("table7").build(cells)


def findings(shown, label):
    return next(row.entries for row in shown.rows if row.labels == (label,))


def test_seconds_are_means_over_repeats_beside_the_papers(tmp_path):
    shown = table(tmp_path)

    assert [column.name for column in shown.columns] == ["graph", "svd"]
    assert findings(shown, "seconds") == (
        Finding(verdict="2.5 ± 0.71", evidence="all iterations ×2"),
        Finding(verdict="5,000", evidence="extrapolated from 1 ×1"),
    )
    assert [each.verdict for each in findings(shown, "times graph's")] == ["1", "2,000"]
    assert [each.verdict for each in findings(shown, "paper, seconds")] == ["4.87 ± 0.09", "373.24 ± 1.41"]
    assert "Hardware: Some CPU, 1 thread;" in " ".join(shown.caption)


@pytest.mark.parametrize("about", [{"size": 32}, {"iterations": 1000}])
def test_the_papers_seconds_stand_beside_its_own_setting_only(tmp_path, about):
    shown = table(tmp_path, **about)

    assert [row.labels for row in shown.rows] == [("seconds",), ("times graph's",)]
    assert "paper" not in f"{shown.title} {shown.caption}"


def test_without_measurements_there_is_no_table_7():
    recording = Recording()
    recording.add()

    assert tables.create("table7").build(recording.cells()) is None
