"""Names of files, and files that are no files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.files import LONGEST_NAME, file_name, read_json, reading


@given(st.text(st.characters(), min_size=1, max_size=400))
def test_any_text_becomes_a_name_that_a_file_system_takes(text: str) -> None:
    name = file_name(text)

    assert 0 < len(os.fsencode(name)) <= LONGEST_NAME
    assert not set(name) & set('/\\:*?"<>|\0')


def test_long_texts_that_begin_alike_have_names_of_their_own() -> None:
    names = {file_name("é" * 300 + ending) for ending in ("a", "b", "c")}

    assert len(names) == 3


def test_a_short_name_stays_as_it_is() -> None:
    assert file_name("virolbi_fixed_nu=16-seed0", "_") == "virolbi_fixed_nu=16-seed0"
    assert file_name("pgd:steps=5, eps=8/255") == "pgd-steps=5-eps=8-255"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_regular_file_is_never_waited_for(make, tmp_path: Path) -> None:
    make(tmp_path / "it")

    refused = pytest.raises(UserError, match=r"expected notes, got .* a folder, a pipe or a device")
    with refused, reading(tmp_path / "it", "notes"):
        pytest.fail("it was read")
    with pytest.raises(ValueError, match="no regular file"):
        read_json(tmp_path / "it")


def test_whatever_goes_wrong_in_reading_is_one_error_that_names_the_file(tmp_path: Path) -> None:
    for error in (RecursionError("deep"), KeyError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "bad")):
        with pytest.raises(UserError, match=r"expected notes, .*it is not one: .*"), reading(tmp_path / "it", "notes"):
            raise error
    refused = pytest.raises(UserError, match=r"could not read .*missing: No such file")
    with refused, reading(tmp_path / "missing", "notes"):
        (tmp_path / "missing").read_text()
