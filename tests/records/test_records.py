"""The results database: what is recorded stays, nothing else is taken for it, and one run writes at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from support.cells import HERE, INDICES, LABELS, add, cell, description

from harness.errors import UserError, reason_of
from harness.records.database import Records
from harness.records.frame import TIDY_COLUMNS
from harness.records.schema import Description, Details, PlannedCell, Record


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
def test_a_row_that_does_not_fit_the_schema_is_named_and_left_out(
    tmp_path: Path, field: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with Records.open(tmp_path, write=True) as records:
        add(records, cell())
        values = {**vars(cell().description), field: value}
        text = json.dumps({name: each for name, each in values.items() if each is not ...})
        with records._connection as connection:
            connection.execute("UPDATE cells SET description=?", (text,))
        add(records, cell("another"))

        snapshot = records.snapshot()
    assert [record.identity for record in snapshot.records] == [cell("another").identity]
    assert list(snapshot.unreadable) == [cell().identity]
    assert field in snapshot.unreadable[cell().identity]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"damaged in {records.path}, left out: {cell().identity[:16]} (")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE cells SET predictions=:three", "3 predictions for 4 images"),
        ("UPDATE labels SET indices=:three", "4 labels for 3 images"),
        ("UPDATE cells SET predictions=:noise", "incorrect header"),
        ("UPDATE cells SET environment='none'", "environment none"),
        ("UPDATE cells SET description=:deep", "nested too deeply"),
        ("UPDATE environments SET environment='[]'", "expected a JSON object"),
    ],
)
def test_a_damaged_cell_leaves_the_others_readable(
    tmp_path: Path, change: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, blob = cell("sound"), zlib.compress(np.arange(3, dtype="<i4").tobytes())
    values = {"three": blob, "noise": b"no zlib", "deep": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"}
    with Records.open(tmp_path, write=True) as records:
        add(records, cell())
        with records._connection as connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute(change, values)
        records.add(sound, LABELS[:2], LABELS[:2], INDICES[:2], environment={"device": "another"}, seconds=1.0)

        snapshot = records.snapshot()
    assert [record.identity for record in snapshot.records] == [sound.identity]
    assert reason in "".join(snapshot.unreadable.values())
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_name_that_is_no_utf_8_is_recorded_and_can_be_printed(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    named = PlannedCell(spec={"dataset": name}, description=description(dataset=name))
    with Records.open(tmp_path / name, write=True) as records:
        add(records, named)
        records.fail(cell(), reason_of(ValueError(name)), environment={}, seconds=1.0)
    with Records.open(tmp_path / name) as records:
        snapshot = records.snapshot()
    assert snapshot.records[0].dataset == r"caf\udce9"
    assert snapshot.failures[0].reason == r"ValueError: caf\udce9"


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
