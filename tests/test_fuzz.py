"""Damaged and hostile files, made from a seed: every reader refuses what it cannot use as a user's mistake.

Weights have a test of their own (tests/models/test_fuzz_weights.py), pictures too (tests/test_pictures.py).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from support.cells import add, cell
from support.parquet_files import Open, random_images, write_parquet

from datasets._official import CifarC
from harness.commands.options import run_config, training_options
from harness.errors import HarnessError, UserError
from harness.records.database import FILE_NAME, Records
from harness.records.exhibits import Exhibit, read_exhibit, save_exhibit
from harness.records.plan import Plan, note_plan, read_plan
from reports.manifest import FILE_NAME as MANIFEST
from reports.manifest import Manifest, read_manifest, save_manifest

HOSTILE = [
    *("null", "[]", "{}", "0", "-1", "1.5", "true", '""', '"²"', '"\\udc80"', "9" * 5000, "1e999", "NaN"),
    *("[" * 100_000, '{"a":' * 50_000, '{"a": [1, "b"]}', '"' + "x" * 100_000 + '"'),
]
"""JSON values where others were expected, and texts that are none."""


def damaged(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` variants of a file: bytes changed, and some of them cut short or with a part twice."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        changed = bytearray(content)
        for place in rng.integers(0, len(changed), rng.integers(1, 12)):
            changed[place] = rng.integers(0, 256)
        cut = int(rng.integers(0, len(changed)))
        yield bytes((changed, changed[:cut], changed[cut:] + changed)[number % 3])


def test_parquet(opened: Open, tmp_path: Path) -> None:
    sound = tmp_path / "sound.parquet"
    write_parquet(sound, list(random_images(5, 4, 4)), [0, 1, 2, 1, 0], names=["a", "b", "c"])
    for number, content in enumerate(damaged(sound.read_bytes(), 150)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "test-0.parquet").write_bytes(content)
        with contextlib.suppress(UserError):
            opened(f"parquet:{folder}").test()


def test_npy(tmp_path: Path) -> None:
    for name, array in (("labels", np.arange(4)), ("fog", np.zeros((20, 32, 32, 3), np.uint8))):
        np.save(tmp_path / f"{name}.npy", array)
    for name in ("labels", "fog"):
        file = tmp_path / f"{name}.npy"
        sound = file.read_bytes()
        header, rest = sound[:128], sound[128:]
        headers = [*damaged(header, 300), *(header.replace(b"(", b"(-").ljust(128), header.replace(b"(", b"(9" * 9))]
        for content in [*(each + rest for each in headers), *damaged(sound, 20)]:
            file.write_bytes(content)
            with contextlib.suppress(UserError):
                if (archive := CifarC(tmp_path, np.arange(4))).fits():
                    archive.fingerprint("fog", 2)
        file.write_bytes(sound)
    structured = np.zeros(4, [("a", "i4"), ("b", "f8")])
    for labels in (structured, np.zeros(4, "V8"), np.array(list("abcd")), np.zeros((4, 1)), np.zeros(())):
        np.save(tmp_path / "labels.npy", labels)
        with contextlib.suppress(UserError):
            CifarC(tmp_path, np.arange(4)).fits()


def test_records(tmp_path: Path) -> None:
    with Records.open(tmp_path / "sound", write=True) as records:
        for number in range(3):
            add(records, cell(f"{number}"))
    sound = (tmp_path / "sound" / FILE_NAME).read_bytes()
    for number, content in enumerate(damaged(sound, 250)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / FILE_NAME).write_bytes(content)
        with contextlib.suppress(HarnessError), Records.open(folder) as records:
            records.snapshot()
            records.statuses()


@pytest.mark.parametrize("column", ["identity", "description", "details", "environment", "recorded_at", "used"])
def test_values_of_a_record(tmp_path: Path, column: str) -> None:
    with Records.open(tmp_path, write=True) as records:
        for number, value in enumerate([*HOSTILE, b"\xff", -(2**63), 2**63 - 1, 1.5]):
            add(records, cell(f"{number}"))
            with records._connection as connection:
                connection.execute("PRAGMA foreign_keys=OFF")
                connection.execute(f"UPDATE OR IGNORE cells SET {column}=? WHERE rowid=?", (value, number + 1))
        snapshot = records.snapshot()
        records.statuses()
        rows = {str(identity) for (identity,) in records._connection.execute("SELECT identity FROM cells")}
        assert rows == {str(record.identity) for record in snapshot.records} | snapshot.unreadable.keys()
        for version in ("9" * 5000, "²", "", "1.5", "-1"):
            with records._connection as connection:
                connection.execute("UPDATE meta SET value=?", (version,))
            with pytest.raises(UserError, match="expected"), Records.open(tmp_path):
                pytest.fail("opened")


def test_notes(tmp_path: Path) -> None:
    note_plan(tmp_path, Plan(1.0, (), ()))
    save_manifest(tmp_path, Manifest(digest="d", source="s", files=("a",), missing=()))
    for file in (tmp_path / "plan.json", tmp_path / MANIFEST):
        fields = json.loads(file.read_text())
        texts = [text.encode() for text in HOSTILE]
        texts += [
            json.dumps({**fields, name: "?"}).replace('"?"', text).encode() for name in fields for text in HOSTILE
        ]
        for content in [*texts, *damaged(file.read_bytes(), 300)]:
            file.write_bytes(content)
            read_plan(tmp_path)
            read_manifest(tmp_path)


def test_exhibits(tmp_path: Path) -> None:
    file = save_exhibit(tmp_path, Exhibit("one", {"values": np.arange(50.0)}, {"about": [1, 2]}))
    for content in damaged(file.read_bytes(), 300):
        file.write_bytes(content)
        with contextlib.suppress(UserError):
            read_exhibit(file)


def test_configuration(tmp_path: Path) -> None:
    @click.command()
    @training_options
    def parse(**options: Any) -> None:
        options["epsilons"] = "8/255"
        run_config(options)

    names = ("defense", "dataset", "seed", "epochs", "level", "amp", "out", "preset", "plugin", "keep-epochs", "device")
    values = [
        *("1", "-1", "1.5", "true", '""', '"x"', "[]", "[1, 2]", '["a", 1]', "[[1]]", "{a = 1}", "1979-05-27", "nan"),
        *("inf", str(2**63), str(10**400), '"\\u0000"', '"~nobody-at-all/x"', "[" * 20_000, "'" * 7, '"é"', "0x7f"),
    ]
    file = tmp_path / "run.toml"
    texts = [f"{name} = {value}\n".encode() for name in names for value in values]
    for content in [*texts, *damaged(b"".join(texts[:40]), 100), b"\xef\xbb\xbfepochs = 1\n"]:
        file.write_bytes(content)
        ended = CliRunner().invoke(parse, ["--config", str(file)], standalone_mode=False)
        error = ended.exception
        assert error is None or isinstance(error, HarnessError | click.ClickException), (content[:60], error)
