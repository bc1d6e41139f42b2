"""What is shown of long work where standard error is not a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness import progress


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(progress, "say", lines.append)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    return lines


def test_a_log_says_how_far_it_is_and_what_is_being_done(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)

    seen = list(progress.track(["a", "b", "c"], "score", name=str.upper))

    assert seen == ["a", "b", "c"]
    assert told == ["score: 1 of 3 done, now B", "score: 2 of 3 done, now C"]


def test_short_work_leaves_no_line(told: list[str]) -> None:
    assert list(progress.track(iter(range(3)), "score")) == [0, 1, 2]
    assert told == []


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_long_name_leaves_room_for_the_counts(columns: int) -> None:
    shown = io.StringIO()
    with progress._new_bar(Console(file=shown, width=columns, force_terminal=True)) as bar:
        bar.add_task("score transfer [/x] " + "virolbi_fixed, " * 12, total=72, completed=10)

    assert "10/72" in shown.getvalue()
    assert "score transfer [/x]" in shown.getvalue()
