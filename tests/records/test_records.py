"""The results database: what is recorded stays, nothing else is taken for it, and one run writes at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from harness.errors import HarnessError, UserError
from harness.records.database import FILE_NAME, Records
from harness.records.frame import TIDY_COLUMNS
from harness.records.schema import SCHEMA_VERSION, Description, Details, PlannedCell, Record

LABELS = np.array([0, 1, 2, 3])
INDICES = np.array([10, 20, 30, 40])
HERE = {"device": "some CPU", "torch": "2"}


def description(**given: Any) -> Description:
    about = {
        "dataset": "shapes",
        "backbone": "resnet_small",
        "defense": "vanilla",
        "seed": 0,
        "suite": "clean",
        "condition": "clean",
        "preprocess": "none",
    }
    return Description(**{**about, **given})


def cell(name: str = "clean", **given: Any) -> PlannedCell:
    return PlannedCell(spec={"condition": name}, description=description(condition=name, **given))


def add(records: Records, of: PlannedCell, predictions: Any = (0, 1, 2, 0), **options: Any) -> None:
    given = {"environment": HERE, "seconds": 1.5, **options}
    records.add(of, np.array(predictions), given.pop("labels", LABELS), given.pop("indices", INDICES), **given)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Records.open(tmp_path, write=True) as opened:
        yield opened


def test_a_recorded_cell_is_found_again_after_reopening(tmp_path: Path) -> None:
    with Records.open(tmp_path / "new" / "folder", write=True) as records:
        assert cell().identity not in records
        add(records, cell())
    with Records.open(tmp_path / "new" / "folder") as records:
        assert cell().identity in records
        assert cell("other").identity not in records
        assert len(records) == 1


def test_an_identity_is_the_specification_alone() -> None:
    first = PlannedCell(spec={"a": 1, "b": [2]}, description=description())

    assert first.identity == PlannedCell(spec={"b": [2], "a": 1}, description=description(seed=1)).identity
    assert first.identity != PlannedCell(spec={"a": 1, "b": [3]}, description=description()).identity


def test_a_recorded_cell_is_never_overwritten(records: Records) -> None:
    add(records, cell(), (0, 1, 2, 0))
    before = records.frame()

    add(records, cell(), (3, 3, 3, 3), seconds=99.0)
    records.fail(cell(), "too late", environment={}, seconds=2.0)

    assert records.frame().equals(before)
    assert records.failures() == []


def test_a_failed_cell_is_not_done_and_may_be_tried_again(records: Records) -> None:
    records.fail(cell(), "out of memory", environment=HERE, seconds=2.0)

    assert cell().identity not in records
    assert len(records) == 0
    assert len(records.frame()) == 0
    (failed,) = records.failures()
    assert (failed.identity, failed.spec, failed.reason) == (cell().identity, cell().spec, "out of memory")
    assert failed.description == cell().description

    add(records, cell())

    assert cell().identity in records
    assert records.failures() == []
    assert records.frame().accuracy.tolist() == [75.0]


def test_the_last_failure_of_a_cell_is_the_one_shown(records: Records) -> None:
    for reason in ("first", "second"):
        records.fail(cell(), reason, environment={}, seconds=1.0)

    assert [failed.reason for failed in records.failures()] == ["second"]


def test_a_frame_agrees_with_a_hand_computation(records: Records) -> None:
    shown = {"seed": 3, "severity": 5, "threat": "bare", "epsilon": 8 / 255, "defense": "blur:sigma=1"}
    add(records, cell("a", **shown), (0, 0, 0, 0), details=Details(seconds={"predict": 1}), seconds=2.5)
    add(records, cell("b"), (0, 1, 2, 3))

    frame = records.frame()

    assert list(frame.columns) == TIDY_COLUMNS
    first, second = (frame.iloc[row] for row in range(2))
    assert {key: first[key] for key in shown} == shown
    assert (first.n_images, first.n_correct, first.accuracy) == (4, 1, 25.0)
    assert (second.n_images, second.n_correct, second.accuracy) == (4, 4, 100.0)
    for row in (first, second):
        interval = binomtest(int(row.n_correct), 4).proportion_ci(method="wilson")
        assert (row.ci_low, row.ci_high) == pytest.approx((100 * interval.low, 100 * interval.high))
    assert (first.seconds, first.device, first.identity) == (2.5, "some CPU", cell("a").identity)
    assert {name: value for name, value in json.loads(first.details).items() if value} == {"seconds": {"predict": 1}}
    assert frame.severity.tolist()[0] == 5
    assert frame.severity.isna().tolist() == [False, True]
    assert frame.epsilon.isna().tolist() == [False, True]


def test_a_frame_of_nothing_has_all_columns(records: Records) -> None:
    frame = records.frame()

    assert list(frame.columns) == TIDY_COLUMNS
    assert len(frame) == 0


def test_a_record_is_what_was_planned_and_what_was_found(records: Records) -> None:
    planned = cell(
        "pgd eps=8/255",
        threat="adaptive",
        attack="pgd",
        attack_parameters={"steps": 20, "loss": "ce"},
        epsilon=8 / 255,
        stage_index=0,
        usual_gradient=False,
        purpose="diagnostic",
    )
    details = Details(outcomes={"reached": 3}, flags=("the gradient is zero",), trained={"preset": "quick"})
    add(records, planned, details=details)

    (record,) = records.snapshot().records

    assert isinstance(record, Record)
    assert {field.name: getattr(record, field.name) for field in dataclasses.fields(Description)} == vars(
        planned.description
    )
    assert record.details == details
    assert (record.identity, record.n_images, record.n_correct) == (planned.identity, 4, 3)
    assert record.correct().tolist() == [True, True, True, False]
    assert (record.device, record.seconds) == ("some CPU", 1.5)
    assert {record} == {record}


def test_every_field_of_a_record_is_a_column_but_those_that_change_or_are_no_single_value() -> None:
    fields = {field.name for field in dataclasses.fields(Record)}

    assert fields - set(TIDY_COLUMNS) == {"used", "outcome_bits"}
    assert set(TIDY_COLUMNS) - fields == {"accuracy", "ci_low", "ci_high"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", "0"),
        ("seed", True),
        ("epsilon", "8/255"),
        ("severity", 1.5),
        ("amp", "no"),
        ("purpose", "else"),
        ("attack_parameters", [1]),
        ("nobody_knows", 1),
        ("dataset", ""),
        ("defense", None),
        ("condition", ...),
    ],
)
def test_a_row_that_does_not_fit_the_schema_is_refused_in_one_line(tmp_path: Path, field: str, value: Any) -> None:
    with Records.open(tmp_path, write=True) as records:
        add(records, cell())
        values = {**vars(cell().description), field: value}
        text = json.dumps({name: each for name, each in values.items() if each is not ...})
        with records._connection as connection:
            connection.execute("UPDATE cells SET description=?", (text,))

        with pytest.raises(UserError, match=f"are damaged .*{field}") as error:
            records.snapshot()
    assert "\n" not in str(error.value)


def test_a_frame_keeps_the_order_of_recording(records: Records) -> None:
    names = ["c", "a", "b"]
    for name in names:
        add(records, cell(name))

    assert records.frame().condition.tolist() == names


def test_a_cell_that_is_used_again_comes_last(records: Records) -> None:
    for name in ("a", "b", "c"):
        add(records, cell(name))
    before = records.frame().set_index("identity").sort_index()

    assert records.use(cell("a").identity)

    assert records.frame().condition.tolist() == ["b", "c", "a"]
    assert records.frame().set_index("identity").sort_index().equals(before)


def test_only_a_finished_cell_can_be_used_and_only_a_failed_one_forgotten(records: Records) -> None:
    add(records, cell("done"))
    records.fail(cell("failed"), "reason", environment={}, seconds=0.0)

    assert not records.use(cell("failed").identity)
    assert not records.use(cell("nowhere").identity)
    for name in ("done", "failed"):
        records.forget_failure(cell(name).identity)

    assert records.failures() == []
    assert len(records) == 1


def test_cells_of_one_data_set_share_its_labels_and_others_have_theirs(records: Records) -> None:
    add(records, cell("a"), (0, 1, 2, 3))
    add(records, cell("b"), (0, 1, 2, 3))
    add(records, cell("other labels"), (0, 1, 2, 3), labels=np.array([3, 2, 1, 0]))
    add(records, cell("fewer"), (0,), labels=LABELS[:1], indices=INDICES[:1])

    assert records.frame().n_correct.tolist() == [4, 4, 0, 1]
    assert records._connection.execute("SELECT count(*) FROM labels").fetchone() == (3,)


def test_outcomes_come_in_the_order_of_the_indices(records: Records) -> None:
    add(records, cell(), (1, 0, 0, 1), labels=np.array([1, 1, 0, 0]), indices=np.array([30, 10, 40, 20]))

    assert records.correct(cell().identity).tolist() == [False, False, True, True]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(6)))
def test_outcomes_do_not_depend_on_the_order_of_scoring(records: Records, order: list[int]) -> None:
    labels, predictions = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 0, 2, 2, 1, 1])
    this = cell(f"order {order}")
    add(records, this, predictions[order], labels=labels[order], indices=np.arange(6)[order])

    assert records.correct(this.identity).tolist() == (predictions == labels).tolist()


def test_outcomes_of_a_cell_that_is_not_there_are_refused(records: Records) -> None:
    records.fail(cell("failed"), "reason", environment={}, seconds=0.0)

    for name in ("failed", "nowhere"):
        with pytest.raises(UserError, match="no finished cell has the identity"):
            records.correct(cell(name).identity)


@pytest.mark.parametrize(
    ("predictions", "labels", "indices"),
    [
        ([], [], []),
        ([0, 1], [0, 1, 2], [0, 1, 2]),
        ([0, 1, 2], [0, 1, 2], [0, 1]),
        ([[0], [1]], [0, 1], [0, 1]),
        ([0.5, 1.0], [0, 1], [0, 1]),
        ([0, 1], [0, 1], [0, 2**40]),
    ],
)
def test_what_is_not_one_integer_an_image_is_refused(
    records: Records, predictions: Any, labels: Any, indices: Any
) -> None:
    with pytest.raises(UserError, match="one integer an image"):
        add(records, cell(), predictions, labels=np.array(labels), indices=np.array(indices))

    assert len(records.frame()) == 0


def test_predictions_survive_exactly(records: Records) -> None:
    rng = np.random.default_rng(0)
    labels, indices = rng.integers(0, 1000, 5000), rng.permutation(10**6)[:5000]
    predictions = np.where(rng.random(5000) < 0.7, labels, -1)
    add(records, cell(), predictions, labels=labels, indices=indices)

    assert records.correct(cell().identity).tolist() == (predictions == labels)[np.argsort(indices)].tolist()


def test_reading_where_nothing_was_recorded_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no records.sqlite. Run `python -m harness run` first"):  # noqa: SIM117
        with Records.open(tmp_path / "nowhere"):
            pass
    assert not (tmp_path / "nowhere").exists()


def refused(folder: Path, *, write: bool) -> str:
    with pytest.raises(UserError) as error:  # noqa: SIM117 (it is the opening that is refused)
        with Records.open(folder, write=write):
            pass
    assert "\n" not in str(error.value)
    return str(error.value)


def sqlite_file(folder: Path, *statements: str) -> Path:
    with sqlite3.connect(folder / FILE_NAME) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return folder


@pytest.mark.parametrize("write", [False, True])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, write: bool) -> None:
    content = b"not a database at all, but a text of some length" * 100
    (tmp_path / FILE_NAME).write_bytes(content)

    assert "expected a records database" in refused(tmp_path, write=write)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_an_empty_file_is_no_records_to_read_but_a_place_to_write(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()

    assert "expected a records database" in refused(tmp_path, write=False)
    assert (tmp_path / FILE_NAME).read_bytes() == b""
    with Records.open(tmp_path, write=True) as records:
        add(records, cell())
        assert len(records) == 1


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE people (name TEXT)"],
        ["CREATE TABLE meta (key TEXT, value TEXT)", "INSERT INTO meta VALUES ('version', '1')"],
        ["CREATE TABLE meta (key TEXT, value TEXT)", "CREATE TABLE cells (x TEXT)"],
        ["CREATE TABLE meta (what TEXT)", "CREATE TABLE cells (x TEXT)"],
    ],
)
def test_a_database_of_another_program_is_refused(tmp_path: Path, write: bool, statements: list[str]) -> None:
    message = refused(sqlite_file(tmp_path, *statements), write=write)

    assert "expected a records database" in message
    assert str(tmp_path) in message


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_records_of_another_version_are_refused(tmp_path: Path, write: bool, version: int) -> None:
    with Records.open(tmp_path, write=True) as records:
        add(records, cell())
    sqlite_file(tmp_path, f"UPDATE meta SET value='{version}' WHERE key='version'")

    message = refused(tmp_path, write=write)

    assert message.startswith(f"expected records of version {SCHEMA_VERSION} at {tmp_path}")
    assert f"got version {version}" in message
    assert ("another --out" if write else "Run again into another folder") in message
    assert "the version of the harness that wrote them" in message


@pytest.mark.parametrize("pages", [slice(1, 3), slice(3, None), slice(-3, None)])
def test_a_damaged_database_is_reported_in_one_line(tmp_path: Path, pages: slice) -> None:
    with Records.open(tmp_path, write=True) as records:
        for number in range(50):
            add(records, cell(str(number)), np.arange(400) % 7, labels=np.arange(400) % 5, indices=np.arange(400))
    path = tmp_path / FILE_NAME
    content = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 4096).copy()
    content[pages] = 255
    path.write_bytes(content.tobytes())

    with pytest.raises(HarnessError) as error, Records.open(tmp_path) as records:
        records.frame()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_output_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    message = refused(tmp_path / "file" / "out", write=True)

    assert f"the output folder {tmp_path / 'file' / 'out'} cannot be written" in message


def test_a_reader_sees_what_a_writer_has_recorded_so_far(tmp_path: Path) -> None:
    with Records.open(tmp_path, write=True) as writer:
        add(writer, cell("a"))
        with Records.open(tmp_path) as reader:
            assert len(reader) == 1
            add(writer, cell("b"))
            assert len(reader) == 2


WRITING = """
import pathlib, sys
import numpy as np
from harness.records.database import Records
from harness.records.schema import Description, PlannedCell

with Records.open(pathlib.Path(sys.argv[1]), write=True) as records:
    number = 0
    print("open", flush=True)
    while True:
        names = dict.fromkeys(("dataset", "backbone", "defense", "suite", "condition"), str(number))
        cell = PlannedCell(spec={"n": number}, description=Description(**names, seed=0, preprocess="none"))
        values = np.arange(2000) % 10
        records.add(cell, values, values, np.arange(2000), environment={}, seconds=0.0)
        print(cell.identity, flush=True)
        number += 1
"""
OPENING = """
import pathlib, sys
from harness.errors import UserError
from harness.records.database import Records
try:
    with Records.open(pathlib.Path(sys.argv[1]), write=True):
        print("opened")
except UserError as error:
    print(error)
"""


def python(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)


def test_a_second_writer_is_refused_in_one_line_until_the_first_is_done(tmp_path: Path) -> None:
    with Records.open(tmp_path, write=True):
        output, _ = python(OPENING, tmp_path).communicate(timeout=30)
    assert output == f"another run is writing to {tmp_path}. Wait for it to end, or give this one another --out.\n"

    output, _ = python(OPENING, tmp_path).communicate(timeout=30)
    assert output == "opened\n"


def test_a_writer_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with Records.open(tmp_path, write=True) as records:
        assert "another run is writing" in refused(tmp_path, write=True)
        add(records, cell())
        assert len(records) == 1


@pytest.mark.parametrize("cells", [1, 7, 40])
def test_a_kill_loses_at_most_the_cell_in_work(tmp_path: Path, cells: int) -> None:
    writer = python(WRITING, tmp_path)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "open\n"
    written = [writer.stdout.readline().strip() for _ in range(cells)]
    os.kill(writer.pid, signal.SIGKILL)
    written += writer.stdout.read().split()
    writer.stdout.close()
    assert writer.wait(timeout=30) == -signal.SIGKILL

    with Records.open(tmp_path, write=True) as records:
        assert all(identity in records for identity in written)
        assert len(written) <= len(records) <= len(written) + 1
        assert (records.frame().accuracy == 100).all()
        add(records, cell("the next run"))
        assert cell("the next run").identity in records
