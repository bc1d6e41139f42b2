"""A report of a run that is not through says so everywhere a number is read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from support.record_samples import plan_cell

from harness import __main__ as cli
from harness.records.database import Records
from harness.records.plan import Plan, PlannedJob, note_plan
from reports.collect.collection import collect
from reports.tables.engine.captions import provenance

LABELS = np.arange(4)
HERE = {"environment": {"device": "CPU"}, "seconds": 1.0}
CELLS = {name: plan_cell({"name": name}, defense=name) for name in "abc"}


def run(folder: Path, done: str, planned: str | None = "abc", failed: str = "") -> Path:
    """A run of these cells; planned: None for a plan that waits for its trainings."""
    with Records.open(folder, write=True) as records:
        for name in done:
            records.add(CELLS[name], LABELS, LABELS, LABELS, **HERE)
        for name in failed:
            records.fail(CELLS[name], "no memory", **HERE)
    jobs = None if planned is None else [PlannedJob(name, (CELLS[name].identity,)) for name in planned]
    note_plan(folder, Plan(0.0, (), jobs))
    return folder


def test_planned_cells_that_are_not_recorded_are_counted_failed_ones_too(tmp_path: Path) -> None:
    assert collect([run(tmp_path / "run", "a", failed="b")]).unfinished == {"run": (1, 3)}


@pytest.mark.parametrize("planned", ["abc", "a", "", None])
def test_a_run_with_all_that_is_known_to_be_planned_is_not_unfinished(tmp_path: Path, planned: str | None) -> None:
    collection = collect([run(tmp_path / "run", "abc", planned)])

    assert collection.unfinished == {}
    assert not any("ncomplete" in sentence for sentence in provenance(collection.cells, list(collection.cells)))


def test_a_planned_cell_that_another_run_recorded_is_there(tmp_path: Path) -> None:
    first, second = run(tmp_path / "first", "a"), run(tmp_path / "second", "b", "ab")

    assert collect([first, second]).unfinished == {"first": (2, 3)}


def test_another_plan_is_another_report(tmp_path: Path) -> None:
    before = collect([run(tmp_path / "run", "a")]).digest
    assert collect([run(tmp_path / "run", "a", "ab")]).digest != before


def test_terminal_and_captions_say_that_a_run_is_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = run(tmp_path / "run", "a")
    monkeypatch.setattr(sys, "argv", ["harness", "report", str(folder), "--no-figures"])

    with pytest.raises(SystemExit):
        cli.main()

    assert "run is incomplete: 1 of 3 planned cells are recorded." in capsys.readouterr().err.splitlines()
    assert "Incomplete: 1 of 3 planned cells of run." in (folder / "tables" / "summary.md").read_text()
    assert "run is incomplete: 1 of 3 planned cells are recorded." in (folder / "index.html").read_text()
