"""The array cache: content, resumption, repair and locking."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cached_rows import KEY, SHAPE, Source, fetch, only_file

from harness import cache
from harness.cache import ArrayCache, _usual_folder, default_cache, digest_of
from harness.errors import HarnessError, UserError


@pytest.mark.parametrize("block", [1, 3, 4, 10, 1000])
def test_an_array_holds_what_fill_returned(tmp_path: Path, block: int) -> None:
    source = Source()

    array = fetch(tmp_path, source, block=block)

    np.testing.assert_array_equal(array, source.values)
    assert array.dtype == np.uint8
    assert [stop - start for start, stop in source.asked][:-1] == [block] * (len(source.asked) - 1)


def test_an_array_is_mapped_and_read_only(tmp_path: Path) -> None:
    array = fetch(tmp_path, Source())

    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


def test_an_array_is_computed_once(tmp_path: Path) -> None:
    fetch(tmp_path, Source())
    again = Source()

    np.testing.assert_array_equal(fetch(tmp_path, again), again.values)
    assert again.asked == []


def test_another_key_or_kind_is_another_array(tmp_path: Path) -> None:
    zeros = np.zeros(SHAPE, np.uint8)
    first = fetch(tmp_path, Source())
    other_key = fetch(tmp_path, lambda rows: zeros[rows], key={**KEY, "level": 0.7})
    other_kind = ArrayCache(tmp_path).array("decoded", KEY, shape=SHAPE, dtype=np.uint8, fill=lambda rows: zeros[rows])

    assert first.any()
    assert not other_key.any()
    assert not other_kind.any()


def test_the_order_of_a_keys_parts_does_not_matter(tmp_path: Path) -> None:
    fetch(tmp_path, Source())
    again = Source()

    fetch(tmp_path, again, key=dict(reversed(KEY.items())))

    assert again.asked == []


def test_an_empty_array_needs_no_file(tmp_path: Path) -> None:
    array = ArrayCache(tmp_path / "new").array("x", {}, shape=(0, 3), dtype=np.uint8, fill=Source())

    assert array.shape == (0, 3)
    assert not (tmp_path / "new").exists()


def test_nothing_appears_under_the_name_before_it_is_whole(tmp_path: Path) -> None:
    seen: list[bool] = []
    source = Source()
    fetch(tmp_path / "other", source)
    name = only_file(tmp_path / "other").name

    def watch(rows: slice) -> np.ndarray:
        seen.append((tmp_path / name).exists())
        return source.values[rows]

    fetch(tmp_path, watch)

    assert seen == [False] * 3
    assert (tmp_path / name).exists()
    assert not list(tmp_path.glob("*partial*"))


def test_an_interrupted_computation_resumes_after_its_last_whole_block(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="interrupted"):
        fetch(tmp_path, Source(fails_at=8))
    rest = Source()

    array = fetch(tmp_path, rest)

    assert rest.asked == [(8, 10)]
    np.testing.assert_array_equal(array, rest.values)


def test_threads_that_want_one_array_compute_it_once(tmp_path: Path) -> None:
    source, arrays = Source(), []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        arrays.append(np.array(fetch(tmp_path, source, block=1)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(source.asked) == [(row, row + 1) for row in range(10)]
    assert all((array == source.values).all() for array in arrays)


FETCHING = """
import pathlib, sys, time
import numpy as np
from harness.cache import _usual_folder, ArrayCache

folder = pathlib.Path(sys.argv[1])

def fill(rows):
    with (folder / "log").open("a") as log:
        log.write(f"{rows.start} ")
    time.sleep(0.05)
    return np.full((rows.stop - rows.start, 3), rows.start, np.uint8)

print("ready", flush=True)
sys.stdin.readline()
again = ArrayCache(folder).array("x", {}, shape=(10, 3), dtype=np.uint8, fill=fill, block=1)
assert (again == np.arange(10)[:, None]).all()
"""


def test_processes_that_want_one_array_compute_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FETCHING, str(tmp_path)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=30)

    assert [worker.returncode for worker in workers] == [0, 0]
    assert (tmp_path / "log").read_text().split() == [str(row) for row in range(10)]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r"file/cache cannot be written .*VIROLBI_CACHE"):
        fetch(tmp_path / "file" / "cache", Source())


REFUSED = """
import pathlib
import numpy as np
from harness.cache import _usual_folder, ArrayCache
ArrayCache(pathlib.Path("/proc")).array("x", {}, shape=(2,), dtype=np.uint8, fill=lambda rows: np.zeros(2))
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that exists and takes no files")
def test_a_folder_that_takes_no_files_is_named_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, check=False, timeout=60)

    assert "UserError: the cache folder /proc cannot be written" in done.stderr.splitlines()[-1]


def test_a_lock_that_cannot_be_taken_is_the_same_clear_line(tmp_path: Path) -> None:
    fetch(tmp_path, Source())
    path = only_file(tmp_path)
    path.unlink()
    lock = path.with_name(f"{path.name}.lock")
    lock.unlink()
    lock.mkdir()

    with pytest.raises(UserError, match=r"cannot be written \(Is a directory\); an array of 1 MB .*VIROLBI_CACHE"):
        fetch(tmp_path, Source())


def test_a_whole_array_is_read_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(tmp_path, Source())
    monkeypatch.setattr(cache, "FileLock", lambda path: pytest.fail(f"{path} is locked"))

    np.testing.assert_array_equal(fetch(tmp_path, Source()), Source().values)


def test_who_waits_for_another_process_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cache, "PATIENCE", 0.05)
    started, said = threading.Event(), threading.Event()
    monkeypatch.setattr(cache, "say", lambda text: (print(text), said.set()))

    def slow(rows: slice) -> np.ndarray:
        started.set()
        assert said.wait(20)
        return Source().values[rows]

    worker = threading.Thread(target=fetch, args=(tmp_path, slow))
    worker.start()
    assert started.wait(20)
    again = Source()
    array = fetch(tmp_path, again)
    worker.join()

    np.testing.assert_array_equal(array, again.values)
    assert again.asked == []
    assert capsys.readouterr().out.startswith("smoothed: waiting for another process that computes the same array")


needs_reservation = pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no space")


@needs_reservation
def test_the_place_on_disk_is_taken_before_anything_is_computed(tmp_path: Path) -> None:
    """A disk that fills up later would end the process at a write to the mapping, without a message."""
    taken: list[int] = []

    def watch(rows: slice) -> np.ndarray:
        (partial,) = tmp_path.glob("*.partial.npy")
        taken.append(partial.stat().st_blocks * 512)
        return np.zeros((rows.stop - rows.start, 2**20), np.uint8)

    ArrayCache(tmp_path).array("x", {}, shape=(4, 2**20), dtype=np.uint8, fill=watch, block=2)

    assert min(taken) >= 4 * 2**20


def _full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@needs_reservation
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _full_disk)
    big = {"shape": (7 * 10**6,), "dtype": np.uint8, "fill": lambda rows: pytest.fail("computed all the same")}

    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); an array of 7 MB") as caught:
        ArrayCache(tmp_path).array("x", {}, **big)

    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "VIROLBI_CACHE" in str(caught.value)
    assert not list(tmp_path.glob("*.npy"))


@pytest.mark.parametrize(("call", "left"), [("posix_fallocate", [(8, 10)]), ("replace", [])])
def test_a_full_disk_costs_no_whole_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, left: list[tuple[int, int]]
) -> None:
    with pytest.raises(RuntimeError, match="interrupted"):
        fetch(tmp_path, Source(fails_at=8))
    with monkeypatch.context() as full:
        full.setattr(os, call, _full_disk, raising=False)
        with pytest.raises(UserError, match="No space left on device"):
            fetch(tmp_path, Source())
    rest = Source()

    np.testing.assert_array_equal(fetch(tmp_path, rest), rest.values)
    assert rest.asked == left


@needs_reservation
def test_a_file_system_that_cannot_reserve_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)

    np.testing.assert_array_equal(fetch(tmp_path, Source()), Source().values)


def test_an_error_of_the_computation_is_not_taken_for_the_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="picture"):
        fetch(tmp_path, lambda rows: np.load(tmp_path / "picture"))


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (np.zeros((4, 1), np.uint8), r"shape \[4, 1\] and type uint8"),
        (np.zeros(3, np.uint8), r"shape \[3\] and type uint8"),
        (np.zeros((3, 3), np.uint8), r"shape \[3, 3\] and type uint8"),
        (np.zeros((4, 3), np.float32), r"shape \[4, 3\] and type float32"),
        (np.zeros((4, 3), np.int8), r"shape \[4, 3\] and type int8"),
    ],
)
def test_rows_of_another_shape_or_type_are_refused_and_not_kept(tmp_path: Path, values: np.ndarray, got: str) -> None:
    with pytest.raises(HarnessError, match=rf"smoothed: expected rows of shape \[4, 3\] and type uint8 .*, got {got}"):
        fetch(tmp_path, lambda rows: values)

    np.testing.assert_array_equal(fetch(tmp_path, Source()), Source().values)


def test_rows_may_lie_in_any_order_in_memory(tmp_path: Path) -> None:
    array = fetch(tmp_path, lambda rows: np.asfortranarray(Source().values[rows]))

    np.testing.assert_array_equal(array, Source().values)


def test_a_file_in_use_is_not_taken_for_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a file cannot be renamed while it is mapped."""
    replace = os.replace

    def in_use(source: Path, target: Path) -> None:
        if target.suffix == ".npy":
            raise PermissionError(errno.EACCES, "Access is denied")
        replace(source, target)

    with monkeypatch.context() as windows:
        windows.setattr(os, "replace", in_use)
        with pytest.raises(
            UserError, match=r"cannot be renamed to smoothed-.*\(Access is denied\): .* is in use"
        ) as error:
            fetch(tmp_path, Source())

    assert "room" not in str(error.value)
    assert fetch(tmp_path, lambda rows: pytest.fail("computed again")).shape == SHAPE


def test_the_users_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIROLBI_CACHE", str(tmp_path / "mine"))
    assert default_cache().folder == tmp_path / "mine"

    monkeypatch.setenv("VIROLBI_CACHE", "")
    assert default_cache().folder.name == "virolbi-harness"


def test_without_a_place_for_a_cache_a_temporary_folder_is_used_and_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**where: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", f"{where['dir']}/tmp{time.monotonic_ns()}")

    _usual_folder.cache_clear()
    monkeypatch.delenv("VIROLBI_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    folder = default_cache().folder
    assert folder == default_cache().folder
    assert folder.parent == tmp_path
    (line,) = capsys.readouterr().err.splitlines()
    assert str(folder) in line
    assert "VIROLBI_CACHE" in line
    _usual_folder.cache_clear()


@given(st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.text(max_size=3), st.booleans(), st.none())))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))

    assert digest_of(value) == digest_of(turned) == digest_of(json.loads(json.dumps(value)))


def test_a_digest_tells_values_apart() -> None:
    values: list[dict[str, object]] = [{}, {"a": 1}, {"a": 2}, {"a": "1"}, {"b": 1}, {"a": [1]}, {"a": None}]

    assert len({digest_of(value) for value in values}) == len(values)


def test_a_digest_of_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"a": float("nan")})
