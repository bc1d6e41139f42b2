"""The watch command: how far a run is, read from its files while it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.record_samples import plan_cell

from harness import __main__ as cli
from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.errors import UserError
from harness.evaluation.run_progress import progress_of
from harness.evaluation.runner import run
from harness.evaluation.watch import in_short, lines
from harness.models import checkpoints
from harness.records.connection import is_locked, locked
from harness.records.database import Records
from harness.records.plan import FILE_NAME, Plan, PlannedJob, PlannedTraining, note_plan, read_plan

LABELS = np.arange(10)
HERE = {"environment": {"device": "CPU"}, "seconds": 1.0}
CELLS = {name: plan_cell({"name": name}, defense=name) for name in "abcd"}
TRAININGS = (
    PlannedTraining("vanilla (seed 0)", "checkpoints/vanilla.pt", 4),
    PlannedTraining("blur (seed 0)", "checkpoints/blur.pt", 4),
)
JOBS = tuple(PlannedJob(f"clean ({name})", (cell.identity,)) for name, cell in CELLS.items())


def add(folder: Path, name: str, wrong: int = 0) -> None:
    with Records.open(folder, write=True) as records:
        records.add(CELLS[name], np.where(wrong > LABELS, -1, LABELS), LABELS, LABELS, **HERE)


def fail(folder: Path, name: str) -> None:
    with Records.open(folder, write=True) as records:
        records.fail(CELLS[name], "no memory", **HERE)


def shown(folder: Path) -> list[str]:
    return list(lines(progress_of(folder)))


@pytest.fixture
def scoring(tmp_path: Path) -> Iterator[Path]:
    """A run of four cells, two of them attempted so far."""
    note_plan(tmp_path, Plan(time.time() - 60, TRAININGS, JOBS))
    add(tmp_path, "a", wrong=3)
    fail(tmp_path, "b")
    with locked(tmp_path):
        yield tmp_path


def test_a_running_job_shows_what_is_done_and_what_comes_next(scoring: Path) -> None:
    told = shown(scoring)

    assert told[:2] == [f"run: {scoring}", "state: running"]
    assert {"cells: 1 of 4", "failed: 1", "working on: clean (c)"} <= set(told)
    assert {"last: a, clean, none: 70.0 % of 10", "failure: b, clean, none: no memory"} <= set(told)


def test_the_time_left_follows_from_the_speed(scoring: Path) -> None:
    progress = progress_of(scoring)

    assert progress.left == 2
    assert 0 < progress.per_minute <= 60
    assert progress.minutes_left == pytest.approx(2 / progress.per_minute)


def test_cells_outside_the_plan_do_not_count(tmp_path: Path) -> None:
    add(tmp_path, "d")
    note_plan(tmp_path, Plan(time.time(), (), JOBS[:3]))

    assert (progress_of(tmp_path).cells, progress_of(tmp_path).planned) == (0, 3)


def test_a_failure_of_an_earlier_run_is_attempted_again_and_not_shown(tmp_path: Path) -> None:
    fail(tmp_path, "a")
    note_plan(tmp_path, Plan(time.time() + 1, (), JOBS))

    progress = progress_of(tmp_path)

    assert (progress.failed, progress.left) == (0, 4)


def test_a_training_shows_its_epochs(tmp_path: Path) -> None:
    note_plan(tmp_path, Plan(time.time(), TRAININGS))
    checkpoints.save(tmp_path / "checkpoints" / "vanilla.pt", {"w": torch.zeros(1)}, {})
    checkpoints.save(tmp_path / "checkpoints" / "blur.state", {"w": torch.zeros(1)}, {}, epoch=3)

    told = shown(tmp_path)

    assert {"trained: 1 of 2", "training: blur (seed 0), 3 of 4 epochs"} <= set(told)


def test_a_half_written_state_is_no_epoch(tmp_path: Path) -> None:
    note_plan(tmp_path, Plan(time.time(), TRAININGS))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "blur.state").write_bytes(b"PK")

    assert [training.done for training in progress_of(tmp_path).trainings] == [0, 0]


def test_the_first_training_is_shown_from_its_first_epoch_on(tmp_path: Path) -> None:
    note_plan(tmp_path, Plan(time.time(), TRAININGS))
    with locked(tmp_path):
        assert "training: vanilla (seed 0), 0 of 4 epochs" in shown(tmp_path)


def test_before_the_first_training_a_run_is_preparing_and_has_no_speed(tmp_path: Path) -> None:
    with locked(tmp_path):
        told = shown(tmp_path)
        assert told == [f"run: {tmp_path}", "state: preparing", "cells: 0", "failed: 0"]
        assert in_short(progress_of(tmp_path)) == "cells: 0, preparing"


def test_a_speed_of_nothing_is_shown_only_after_something_was_scored(
    scoring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1000)

    assert "speed: 0.0 cells a minute" in shown(scoring)

    note_plan(scoring, Plan(now + 999, TRAININGS, JOBS))
    assert not any(line.startswith("speed") for line in shown(scoring))


def test_without_a_terminal_every_change_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    note_plan(tmp_path, Plan(time.time() - 60, TRAININGS))
    running = locked(tmp_path)
    running.__enter__()
    changes = iter(
        [
            lambda: None,
            lambda: note_plan(tmp_path, Plan(time.time() - 60, (), JOBS)),
            lambda: running.__exit__(None, None, None),
        ]
    )
    monkeypatch.setattr(time, "sleep", lambda _: next(changes)())
    monkeypatch.setattr(sys, "argv", ["harness", "watch", str(tmp_path)])

    with pytest.raises(SystemExit):
        cli.main()

    assert capsys.readouterr().out == (
        "cells: 0, training: vanilla (seed 0), 0 of 4 epochs\n"
        "cells: 0 of 4, working on: clean (a)\n"
        "cells: 0 of 4, not running\n"
    )


def test_on_a_terminal_there_is_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    note_plan(tmp_path, Plan(time.time(), (), JOBS))
    monkeypatch.setattr(sys, "argv", ["harness", "watch", str(tmp_path)])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    with pytest.raises(SystemExit):
        cli.main()

    out = capsys.readouterr().out
    assert "━" in out
    assert "cells: 0 of 4" in out


def test_records_without_a_plan_are_shown_for_what_they_are(tmp_path: Path) -> None:
    add(tmp_path, "a")

    assert shown(tmp_path)[1:4] == ["state: not running", "cells: 1", "failed: 0"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"started": 1}', '{"started": 1, "trainings": [1], "jobs": null}'])
def test_a_plan_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    assert read_plan(tmp_path) is None


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a run in"):
        progress_of(tmp_path)


def test_asking_for_the_lock_neither_takes_nor_makes_it(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert not any(tmp_path.iterdir())
    with locked(tmp_path):
        assert is_locked(tmp_path)
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


@pytest.mark.parametrize("options", [("--once",), ("--every", "0.1")])
def test_watching_a_run_that_has_ended_prints_it_and_ends(
    tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    add(tmp_path, "a")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(sys, "argv", ["harness", "watch", str(tmp_path), *options])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 0
    assert "cells: 1" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_notes_every_cell_it_records(tmp_path: Path) -> None:
    config = RunConfig(
        defenses=("vanilla", "blur"),
        suites=("clean", "adversarial"),
        attacks=("fgsm",),
        epochs=1,
        train_limit=64,
        limit=4,
        epsilons=(0.03,),
        out=tmp_path / "run",
        device="cpu",
    )

    outcome = run(config, ArrayCache(tmp_path / "cache"))

    progress = progress_of(config.out)
    assert progress.planned == progress.cells == outcome.evaluated > 0
    assert progress.left == 0
    assert [(training.done, training.epochs) for training in progress.trainings] == [(1, 1), (1, 1)]
