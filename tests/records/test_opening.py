"""Opening the records: what is no records file is refused, and one run writes at a time."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.cells import add, cell

from harness.errors import HarnessError, UserError
from harness.records.database import FILE_NAME, Records
from harness.records.schema import SCHEMA_VERSION


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
