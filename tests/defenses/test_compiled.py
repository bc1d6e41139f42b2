"""Where compiled code is kept: apart for every name that a module is imported under, and where it can be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from defenses import _compiled
from defenses._compiled import compiled


def doubled(number: int) -> int:
    return 2 * number


def folder_of(function: object) -> Path:
    return Path(function._cache.cache_path)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders tried, which a test may change."""
    tried = [tmp_path / "first", tmp_path / "second"]
    monkeypatch.setattr(_compiled, "_folders", lambda source: iter(tried))
    return tried


def test_each_name_of_a_module_has_compiled_code_of_its_own(folders: list[Path], monkeypatch) -> None:
    usual = compiled()(doubled)
    monkeypatch.setattr(doubled, "__module__", "harness_defenses.kernels")
    private = compiled()(doubled)

    assert usual(3) == private(3) == 6
    assert folder_of(usual) != folder_of(private)
    assert {folder_of(each).parts[len(folders[0].parts)] for each in (usual, private)} == {
        f"{__name__.partition('.')[0]}-numba",
        "harness_defenses-numba",
    }


def test_where_one_folder_cannot_be_written_the_next_is_taken(folders: list[Path], capsys) -> None:
    folders[0].write_text("a file")

    assert folders[1] in folder_of(compiled()(doubled)).parents
    assert capsys.readouterr().err == ""


def test_without_a_folder_it_compiles_all_the_same_and_says_so_once(folders: list[Path], capsys) -> None:
    _compiled._say_unkept.cache_clear()
    for folder in folders:
        folder.write_text("a file")

    assert [compiled()(doubled)(number) for number in (1, 2)] == [2, 4]
    (line,) = capsys.readouterr().err.splitlines()
    assert "every start compiles again" in line


def test_a_setting_of_numba_that_would_leave_it_uncompiled_is_ignored(folders: list[Path], capsys, monkeypatch) -> None:
    monkeypatch.setattr(_compiled.config, "DISABLE_JIT", 1)
    _compiled._say_compiled_all_the_same.cache_clear()

    assert compiled()(doubled).signatures == []
    assert "disable_jit is ignored" in capsys.readouterr().err
