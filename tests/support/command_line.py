"""The command line as a user meets it, in a process of its own or in this one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import __main__ as cli

ROOT = Path(__file__).resolve().parents[2]


def harness(
    *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd or ROOT, env={**os.environ, **(env or {})})


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    """The command line in this process: its exit code and what it wrote to standard error."""
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), capsys.readouterr().err


def one_line(stderr: str, expected: str) -> bool:
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    return len(lines) == 1 and "Traceback" not in stderr and re.search(expected, lines[0]) is not None
