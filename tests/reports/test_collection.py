"""Several runs as one: what they share counts once, what they contradict each other in is shown."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.record_samples import plan_cell

from harness.errors import UserError
from harness.records import reading
from harness.records.database import FILE_NAME, Records
from harness.records.exhibits import Exhibit, save_exhibit
from harness.records.schema import SCHEMA_VERSION, Details, PlannedCell, Record
from reports.collect.collection import Collection, NothingFinishedError, collect, run_names
from reports.tables.engine.captions import provenance

LABELS = np.array([0, 1, 2, 3])
TRAINING = {"recipe": {"epochs": 3}, "classes": ["a", "b"], "seed": 0}


def cell(name: str = "vanilla", **given: Any) -> PlannedCell:
    return plan_cell({"name": name, **given}, **{"defense": name, **given})


def run(
    folder: Path, *cells: tuple[PlannedCell, Sequence[int]] | PlannedCell, device: str = "CPU", **details: Any
) -> Path:
    """Record cells with their predictions; bare ones fail."""
    given = {"environment": {"device": device}, "seconds": 1.0}
    with Records.open(folder, write=True) as records:
        for each in cells:
            if isinstance(each, PlannedCell):
                records.fail(each, f"{device} exploded", **given)
            else:
                of, predictions = each
                records.add(of, np.array(predictions), LABELS, LABELS + 10, **given, details=Details(**details))
    return folder


def dated(folder: Path, when: str) -> Path:
    with sqlite3.connect(folder / FILE_NAME) as connection:
        connection.execute("UPDATE cells SET recorded_at=?", (when,))
    connection.close()
    return folder


def accuracies(collection: Collection) -> dict[str, float]:
    return {each.defense: each.n_correct / each.n_images for each in collection.cells}


def test_runs_with_different_cells_become_one(tmp_path: Path) -> None:
    first = run(tmp_path / "a", (cell(), [0, 1, 2, 3]))
    second = run(tmp_path / "b", (cell("blur"), [0, 1, 0, 0]))

    collection = collect([first, second])

    assert collection.runs == ("a", "b")
    assert accuracies(collection) == {"vanilla": 1.0, "blur": 0.5}
    assert collection.conflicts == ()


def test_a_cell_with_the_same_predictions_counts_once(tmp_path: Path) -> None:
    folders = [run(tmp_path / name, (cell(), [0, 1, 2, 0])) for name in ("a", "b", "c")]

    collection = collect(folders)

    assert len(list(collection.cells)) == 1
    assert collection.conflicts == ()


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_contradicting_cells_the_one_recorded_first_is_kept_and_both_are_shown(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    dated(run(tmp_path / "a", (cell(), [0, 1, 2, 0]), device="A"), "2026-01-02T00:00:00+00:00")
    dated(run(tmp_path / "b", (cell(), [0, 0, 0, 0]), device="B"), "2026-01-01T00:00:00+00:00")

    collection = collect([tmp_path / name for name in order])

    (conflict,) = collection.conflicts
    assert conflict.correct == {"b": 1, "a": 3}
    assert (conflict.record.n_images, conflict.differing) == (4, 2)
    assert accuracies(collection) == {"vanilla": 0.25}
    assert collection.environments[conflict.record.environment] == {"device": "B"}


def test_an_accuracy_that_agrees_by_chance_is_a_conflict_all_the_same(tmp_path: Path) -> None:
    first = run(tmp_path / "a", (cell(), [0, 1, 2, 0]))
    second = run(tmp_path / "b", (cell(), [0, 1, 0, 3]))

    (conflict,) = collect([first, second]).conflicts

    assert set(conflict.correct.values()) == {3}
    assert conflict.differing == 2


def test_runs_of_equal_names_are_told_apart(tmp_path: Path) -> None:
    folders = [run(tmp_path / where / "run", (cell(), [0, 1, 2, where == "a"])) for where in ("a", "b")]

    collection = collect(folders)

    assert collection.runs == ("a/run", "b/run")
    assert set(collection.conflicts[0].correct) == {"a/run", "b/run"}


def test_run_names_grow_only_where_they_must() -> None:
    folders = [Path("/x/1/a/run"), Path("/x/2/a/run"), Path("/x/b/run"), Path("/x/demo")]
    assert run_names(folders) == ["1/a/run", "2/a/run", "b/run", "demo"]


def test_what_any_run_used_last_is_what_counts(tmp_path: Path) -> None:
    """Two networks of one name: the second run goes back to the first network."""
    old, new = cell("vanilla", weights="old"), cell("vanilla", weights="new")
    first = run(tmp_path / "a", (old, [0, 1, 2, 3]), (new, [0, 0, 0, 0]))
    assert accuracies(collect([first])) == {"vanilla": 0.25}
    second = run(tmp_path / "b", (old, [0, 1, 2, 3]))

    assert accuracies(collect([first, second])) == {"vanilla": 1.0}
    assert accuracies(collect([second, first])) == {"vanilla": 1.0}


def test_a_failure_stays_unless_another_run_made_it_good(tmp_path: Path) -> None:
    first = run(tmp_path / "a", (cell("blur"), [0, 1, 2, 3]), cell(), cell("pni"), device="A")
    second = run(tmp_path / "b", (cell(), [0, 1, 2, 3]), device="B")

    (failure,) = collect([first, second]).failures

    assert (failure.run, failure.description.defense, failure.reason) == ("a", "pni", "A exploded")


def test_a_training_that_succeeded_elsewhere_is_no_failure(tmp_path: Path) -> None:
    description = cell(backbone="", suite="", condition="training", preprocess="").description
    failed = PlannedCell(spec={"training": TRAINING}, description=description)
    first = run(tmp_path / "a", failed)
    other = run(tmp_path / "b", (cell("blur"), [0, 1, 2, 3]), trained={**TRAINING, "seed": 1})
    same = run(tmp_path / "c", (cell(), [0, 1, 2, 3]), trained=TRAINING)

    assert len(collect([first, other]).failures) == 1
    assert collect([first, same]).failures == ()


def test_how_a_network_was_trained_and_environments_belong_to_their_records(tmp_path: Path) -> None:
    first = run(tmp_path / "a", (cell(), [0, 1, 2, 3]), device="A", trained=TRAINING)
    second = run(tmp_path / "b", (cell("blur"), [0, 1, 2, 3]), device="B")

    collection = collect([first, second])

    records = {record.defense: record for record in collection.cells}
    assert {name: record.details.trained for name, record in records.items()} == {"vanilla": TRAINING, "blur": {}}
    environments = {name: collection.environments[record.environment] for name, record in records.items()}
    assert environments == {"vanilla": {"device": "A"}, "blur": {"device": "B"}}
    assert {name: record.device for name, record in records.items()} == {"vanilla": "A", "blur": "B"}


def test_outcomes_are_those_recorded_whatever_their_number(tmp_path: Path) -> None:
    labels = np.arange(1001) % 7
    shuffled = np.random.default_rng(0).permutation(1001)
    predictions = np.where(np.arange(1001) % 3 == 0, labels, -1)
    with Records.open(tmp_path, write=True) as records:
        records.add(cell(), predictions, labels, shuffled, environment={}, seconds=1.0)
        expected = records.correct(cell().identity)

    collection = collect([tmp_path])

    (only,) = collection.cells
    assert np.array_equal(only.correct(), expected)
    assert only.correct().dtype == np.bool_


def test_a_folder_given_twice_is_read_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = run(tmp_path / "a", (cell(), [0, 1, 2, 3]))

    collection = collect([folder, tmp_path / "b" / ".." / "a"])

    assert collection.runs == ("a",)
    assert "given more than once" in capsys.readouterr().err


def test_a_run_without_finished_cells_is_named_and_the_others_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folders = [run(tmp_path / "a", (cell(), [0, 1, 2, 3])), run(tmp_path / "b")]

    assert accuracies(collect(folders)) == {"vanilla": 1.0}
    assert f"{tmp_path / 'b'} has no finished cells" in capsys.readouterr().err.replace("\n", "")


def test_failures_are_there_even_when_nothing_was_finished(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", cell())

    with pytest.raises(NothingFinishedError) as error:
        collect([folder])

    assert [failure.reason for failure in error.value.failures] == ["CPU exploded"]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "half-written":
        path.write_bytes(content[: len(content) // 2])
    elif how == "not a database":
        path.write_bytes(b"defense,accuracy\nvanilla,100\n")
    else:
        statement = {
            "newer": f"UPDATE meta SET value='{SCHEMA_VERSION + 1}'",
            "no labels": "DELETE FROM labels",
            "blob": "UPDATE cells SET predictions=x'00'",
            "text": "UPDATE cells SET description='{'",
            "no environments": "DELETE FROM environments",
            "details": "UPDATE cells SET details='oops'",
            "details of another kind": "UPDATE cells SET details='[]'",
            "description of another kind": "UPDATE cells SET description='[]'",
            "nothing described": "UPDATE cells SET description='{}'",
            "no seed": "UPDATE cells SET description=json_remove(description, '$.seed')",
            "no number": "UPDATE cells SET description=json_set(description, '$.seed', 'first')",
            "no recipe": "UPDATE cells SET details=json_object('trained', 3)",
            "no text": "UPDATE cells SET details=x'ff'",
        }[how]
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()


DAMAGES = {
    "empty": "found an empty one",
    "half-written": "malformed",
    "not a database": "found something else",
    "newer": f"got version {SCHEMA_VERSION + 1}",
}
DAMAGED_ROWS = (
    *("no labels", "blob", "text", "no environments", "details", "details of another kind", "nothing described"),
    *("description of another kind", "no seed", "no number", "no recipe", "no text"),
)


@pytest.mark.parametrize(("how", "expected"), DAMAGES.items())
def test_records_that_cannot_be_read_are_named_in_one_line_and_left_alone(
    tmp_path: Path, how: str, expected: str
) -> None:
    good = run(tmp_path / "good", (cell(), [0, 1, 2, 3]))
    bad = run(tmp_path / "bad", *[(cell(str(number)), [0, 1, 2, 3]) for number in range(40)])
    path = bad / FILE_NAME
    damage(path, how)
    before = path.read_bytes()

    with pytest.raises(UserError) as error:
        collect([good, bad])

    assert expected in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert "eave it out" in str(error.value)
    assert "--out" not in str(error.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("how", DAMAGED_ROWS)
def test_damaged_rows_are_left_out_and_said_in_one_line(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture
) -> None:
    good = run(tmp_path / "good", (cell(), [0, 1, 2, 3]))
    bad = run(tmp_path / "bad", *[(cell(str(number)), [0, 1, 2, 3]) for number in range(40)])
    damage(bad / FILE_NAME, how)

    collection = collect([good, bad])

    assert accuracies(collection) == {"vanilla": 1.0}
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("damaged in ")]
    assert len(said) == 1
    assert str(bad / FILE_NAME) in said[0]
    assert " and 39 further rows. Take a copy" in said[0] or " and 40 further rows. Take a copy" in said[0]


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    good = run(tmp_path / "good", (cell(), [0, 1, 2, 3]))
    with pytest.raises(UserError, match=r"expected records in .*nowhere"):
        collect([good, tmp_path / "nowhere"])


def test_a_folder_with_exhibits_alone_adds_these(tmp_path: Path) -> None:
    recorded_run = run(tmp_path / "run", (cell(), [0, 1, 2, 3]))
    save_exhibit(tmp_path / "bench", Exhibit("projection", {"seconds": np.ones(2)}, {}))

    collection = collect([recorded_run, tmp_path / "bench"])

    assert collection.runs == ("run",)
    assert collection.cells.exhibits["projection"].arrays["seconds"].tolist() == [1, 1]
    with pytest.raises(UserError, match="expected records in"):
        collect([tmp_path / "bench"])


@pytest.mark.parametrize("damaged", ["text", "cut off", "garbled"])
def test_a_damaged_exhibit_is_left_out_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture, damaged: str
) -> None:
    folder = run(tmp_path / "run", (cell(), [0, 1, 2, 3]))
    save_exhibit(folder, Exhibit("good", {"x": np.ones(2)}, {}))
    path = save_exhibit(folder, Exhibit("bad", {"x": np.random.default_rng(0).normal(size=500)}, {}))
    content = path.read_bytes()
    path.write_bytes({"text": b"x", "cut off": content[:-50], "garbled": content[:200] + content[210:]}[damaged])

    exhibits = collect([folder]).exhibits

    assert [exhibits.get(name) is None for name in ("bad", "bad", "good")] == [True, True, False]
    assert "bad" not in exhibits
    said = capsys.readouterr().err.replace("\n", "")
    assert said.count("left out: expected an exhibit, ") == 1


def test_no_folders_are_refused() -> None:
    with pytest.raises(UserError, match="at least one run folder"):
        collect([])


def test_records_are_read_at_one_moment_while_a_run_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded between two queries is not seen by the second, and the writer is not held up."""
    with Records.open(tmp_path, write=True) as writer:
        given = {"environment": {"device": "CPU"}, "seconds": 1.0}
        writer.add(cell(), LABELS, LABELS, LABELS, **given)
        read = reading.read_records

        def read_while_writing(connection: sqlite3.Connection, *others: Any) -> Iterator[Record]:
            writer.add(cell("blur"), LABELS, LABELS, LABELS, environment={"device": "new"}, seconds=1.0)
            return read(connection, *others)

        monkeypatch.setattr(reading, "read_records", read_while_writing)
        during = collect([tmp_path])
        monkeypatch.undo()

        assert accuracies(during) == {"vanilla": 1.0}
        assert accuracies(collect([tmp_path])) == {"vanilla": 1.0, "blur": 1.0}


def test_the_digest_follows_what_was_recorded(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", (cell(), [0, 1, 2, 3]))
    before = collect([folder]).digest
    assert collect([folder]).digest == before

    run(folder, cell("blur"))
    failed = collect([folder]).digest
    run(folder, (cell("blur"), [0, 1, 2, 3]))

    assert len({before, failed, collect([folder]).digest}) == 3


# Networks trained again


def network(folder: Path, weights: str, *conditions: str) -> Path:
    """A run that trained vanilla and scored it under these conditions."""
    return run(folder, *((cell("vanilla", weights=weights, condition=name), [0, 1, 2, 3]) for name in conditions))


def test_a_network_that_runs_trained_to_other_weights_is_told_and_counted_once(tmp_path: Path) -> None:
    first = network(tmp_path / "a", "old", "clean", "fog", "snow")
    second = network(tmp_path / "b", "new", "clean")

    collection = collect([first, second])

    (conflict,) = collection.conflicting
    assert (conflict.last.defense, conflict.last.seed, conflict.last.weights) == ("vanilla", 0, "new")
    assert (conflict.counted, conflict.left_out) == (("b",), {"a": 3})
    assert len(list(collection.cells)) == 1


@pytest.mark.parametrize("again", ["old", "new"])
def test_weights_that_all_runs_ended_with_are_no_conflict(tmp_path: Path, again: str) -> None:
    """One run trained the network twice, as its own report would show; the other has those of the last training."""
    first = network(tmp_path / "a", "old", "clean")
    network(first, again, "fog")

    assert collect([first, network(tmp_path / "b", again, "fog")]).conflicting == ()


def test_every_caption_says_how_many_cells_are_left_out(tmp_path: Path) -> None:
    first = network(tmp_path / "a", "old", "clean", "fog", "snow")
    cells = collect([first, network(tmp_path / "b", "new", "clean")]).cells

    assert provenance(cells, list(cells))[-1] == "3 cells are left out, replaced by later ones of the same settings."
