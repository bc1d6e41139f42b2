"""What the array cache makes of damaged arrays and checksums: never used, computed again, and no more than needed."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cached_rows import SHAPE, Source, fetch, only_file


def sums_file(folder: Path) -> Path:
    (path,) = folder.glob("*.sums")
    return path


def damage_row(path: Path, row: int) -> None:
    """Change one bit of a row, as a bad disk would: neither size nor shape tell."""
    array = np.load(path, mmap_mode="r+")
    array[row, 1] ^= 1
    array.flush()


def test_checksums_without_their_rows_are_not_believed(tmp_path: Path) -> None:
    """They must not vouch for the rows of a later, empty start."""
    fetch(tmp_path, Source())
    only_file(tmp_path).unlink()
    with pytest.raises(RuntimeError, match="interrupted"):
        fetch(tmp_path, Source(fails_at=0))
    source = Source()

    np.testing.assert_array_equal(fetch(tmp_path, source), source.values)
    assert len(source.asked) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "many",
        "\udcff",
        "[]",
        "7",
        "{}",
        '{"shape": [10, 3], "dtype": "|u1", "block": 0}',
        '{"shape": [10, 3], "dtype": "|u1", "block": "4"}',
        '{"shape": [3, 10], "dtype": "|u1", "block": 4}',
        '{"shape": [10, 3], "dtype": "|i1", "block": 4}',
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_damaged_checksums_mean_starting_again(tmp_path: Path, text: str, whole: bool) -> None:
    with contextlib.nullcontext() if whole else pytest.raises(RuntimeError, match="interrupted"):
        fetch(tmp_path, Source(fails_at=None if whole else 8))
    sums_file(tmp_path).write_text(text, errors="surrogateescape")
    source = Source()

    np.testing.assert_array_equal(fetch(tmp_path, source), source.values)
    assert source.asked == [(0, 4), (4, 8), (8, 10)]


def test_a_checksum_that_a_kill_cut_short_costs_its_block_alone(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="interrupted"):
        fetch(tmp_path, Source(fails_at=8))
    text = sums_file(tmp_path).read_text()
    sums_file(tmp_path).write_text(text[: text.rindex(" ")])
    source = Source()

    np.testing.assert_array_equal(fetch(tmp_path, source), source.values)
    assert source.asked == [(4, 8), (8, 10)]
    assert fetch(tmp_path, lambda rows: pytest.fail("computed again")).shape == SHAPE


def test_an_array_is_completed_in_the_block_size_it_was_started_with(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="interrupted"):
        fetch(tmp_path, Source(fails_at=8))
    rest = Source()

    np.testing.assert_array_equal(fetch(tmp_path, rest, block=3), rest.values)
    assert rest.asked == [(8, 10)]


@pytest.mark.parametrize(("row", "computed"), [(0, (0, 4)), (3, (0, 4)), (6, (4, 8)), (9, (8, 10))])
def test_a_damaged_block_is_never_used_and_alone_computed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: int, computed: tuple[int, int]
) -> None:
    fetch(tmp_path, Source())
    damage_row(only_file(tmp_path), row)
    source = Source()

    np.testing.assert_array_equal(fetch(tmp_path, source), source.values)

    assert source.asked == [computed]
    assert capsys.readouterr().err == "smoothed: 1 of 3 blocks on disk are damaged; they are computed again\n"
    assert fetch(tmp_path, lambda rows: pytest.fail("computed again")).shape == SHAPE


def test_a_damaged_block_of_an_interrupted_computation_is_computed_again(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="interrupted"):
        fetch(tmp_path, Source(fails_at=8))
    damage_row(only_file(tmp_path), 1)
    source = Source()

    np.testing.assert_array_equal(fetch(tmp_path, source), source.values)
    assert source.asked == [(0, 4), (8, 10)]


def test_a_repair_that_is_interrupted_leaves_nothing_damaged_to_be_used(tmp_path: Path) -> None:
    fetch(tmp_path, Source())
    damage_row(only_file(tmp_path), 1)
    damage_row(only_file(tmp_path), 9)
    with pytest.raises(RuntimeError, match="interrupted"):
        fetch(tmp_path, Source(fails_at=4))
    source = Source()

    np.testing.assert_array_equal(fetch(tmp_path, source), source.values)
    assert source.asked == [(8, 10)]


def test_a_block_that_is_computed_otherwise_today_is_kept_as_it_is_now(tmp_path: Path) -> None:
    """As where another processor rounds otherwise; a checksum of the old values would never agree."""
    fetch(tmp_path, Source())
    damage_row(only_file(tmp_path), 1)

    again = fetch(tmp_path, lambda rows: np.full((4, 3), 7, np.uint8))

    assert (again[:4] == 7).all()
    assert (fetch(tmp_path, lambda rows: pytest.fail("computed again")) == again).all()


def test_an_array_without_checksums_is_computed_again_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(tmp_path, Source())
    sums_file(tmp_path).unlink()
    source = Source()

    np.testing.assert_array_equal(fetch(tmp_path, source), source.values)
    assert len(source.asked) == 3
    assert "smoothed: the array on disk is damaged or has no checksums; it is computed" in capsys.readouterr().err


def test_a_process_checks_an_array_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    crc32 = zlib.crc32
    monkeypatch.setattr(zlib, "crc32", lambda data, *start: read.append(len(data)) or crc32(data, *start))
    fetch(tmp_path, Source())
    read.clear()

    fetch(tmp_path, Source())
    assert read == [4 * 3, 4 * 3, 2 * 3]
    fetch(tmp_path, Source())
    assert len(read) == 3


def _as_zip(path: Path) -> None:
    np.savez(path.with_suffix(""), np.zeros(3))
    path.with_suffix(".npz").replace(path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated header": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "truncated rows": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "text": lambda path: path.write_text("not an array"),
    "zip": _as_zip,
    "another shape": lambda path: np.save(path, np.zeros((3, 10), np.uint8)),
    "another type": lambda path: np.save(path, np.zeros(SHAPE, np.float32)),
    "objects": lambda path: np.save(path, np.array([None] * 30).reshape(SHAPE), allow_pickle=True),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_built_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    fetch(tmp_path, Source())
    damage(only_file(tmp_path))
    source = Source()

    np.testing.assert_array_equal(fetch(tmp_path, source), source.values)
    assert len(source.asked) == 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 127), st.integers(0, 255))
def test_any_damaged_header_byte_leaves_the_right_shape_and_type(tmp_path: Path, place: int, value: int) -> None:
    fetch(tmp_path, Source())
    path = only_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)

    array = fetch(tmp_path, Source())

    assert (array.shape, array.dtype) == (SHAPE, np.uint8)
    path.unlink()
