"""The command line as a user meets it, in a process of its own or in this one."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

import pytest

from harness import __main__ as cli
from harness.registry import ALL

ROOT = Path(__file__).resolve().parents[2]


Completed = subprocess.CompletedProcess


def process(*arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Completed:
    """A command in a process of its own, for tests of what a process is."""
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd or ROOT, env={**os.environ, **(env or {})})


def harness(*arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Completed:
    """A command in this process, which has imported everything: seconds faster."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd or ROOT),
        mock.patch.dict(os.environ, env or {}),
        mock.patch.object(sys, "argv", ["harness", *map(str, arguments)]),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        plugins_forgotten(),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    return Completed([*map(str, arguments)], int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue())


@contextlib.contextmanager
def plugins_forgotten() -> Iterator[None]:
    """What plugins register within the block is forgotten after it, as at the end of a process."""
    with contextlib.ExitStack() as stack:
        for registry in ALL:
            stack.enter_context(registry.restored())
        yield
    for name in [name for name in sys.modules if name.startswith("harness_plugin_")]:
        del sys.modules[name]


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    """The command line in this process: its exit code and what it wrote to standard error."""
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), capsys.readouterr().err


def one_line(stderr: str, expected: str) -> bool:
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    return len(lines) == 1 and "Traceback" not in stderr and re.search(expected, lines[0]) is not None
