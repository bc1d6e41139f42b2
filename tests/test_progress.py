"""What is shown of long work where standard error is not a terminal."""

from __future__ import annotations

import pytest

from harness import progress


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(progress, "say", lines.append)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    return lines


def test_a_log_says_how_far_it_is_and_what_is_being_done(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)

    found = list(progress.track(["a", "b", "c"], "score", name=str.upper))

    assert found == ["a", "b", "c"]
    assert told == ["score: 1 of 3 done, now B", "score: 2 of 3 done, now C"]


def test_short_work_leaves_no_line(told: list[str]) -> None:
    assert list(progress.track(iter(range(3)), "score")) == [0, 1, 2]
    assert told == []
