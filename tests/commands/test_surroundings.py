"""What surrounds a command (streams, environment, signals, anybody's plugins) costs no result and no traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import ROOT, call, one_line

from harness.__main__ import GRACE
from harness.commands.options import FILE
from harness.registry import defenses

PLUGIN = """
import sys
from harness.contracts.defense import Defense
from harness.registry import defenses


class Mute(BaseException):
    def __str__(self):
        raise RuntimeError("no text")


@defenses.register("unmakable")
class Unmakable(Defense):
    def __init__(self):
        raise Mute


@defenses.register("unnamable")
class Unnamable(Defense):
    @property
    def label(self):
        return "unnamable"

    @label.setter
    def label(self, text):
        raise Mute


@defenses.register("leaver")
class Leaver(Defense):
    def loss(self, model, batch, memory):
        sys.exit(0)


@defenses.register("fails_to_preprocess")
class FailsToPreprocess(Defense):
    def preprocess(self, default):
        raise Mute


Leaver.__doc__ = 7
"""
TINY = ("--epochs", "1", "--train-limit", "32", "--limit", "4", "--suite", "clean")


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    """A file whose defenses raise, each at another point; it is forgotten afterwards."""
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN, encoding="utf-8")
    with defenses.restored():
        yield file


@pytest.mark.parametrize("arguments", [("list",), ("run", "--help")])
def test_output_that_cannot_hold_a_character_gets_another(arguments: tuple[str, ...]) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "harness", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="cp1252", check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_to_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "list"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
        )

    assert done.returncode == 1
    assert one_line(done.stderr, "No space left on device")


def test_a_notebooks_backend_and_a_umask_that_forbids_everything_cost_no_figure(tmp_path: Path) -> None:
    code = (
        "import os; os.umask(0o777)\n"
        "from harness.__main__ import prepare_process; prepare_process()\n"
        "from pathlib import Path\n"
        "from matplotlib.figure import Figure\n"
        "from harness.files.figures import save_figure\n"
        "folder = Path('made'); folder.mkdir()\n"
        "print(len([path.read_bytes() for path in save_figure(Figure(), folder / 'empty')]))"
    )
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("3\n", "")


def test_a_second_interrupt_ends_a_command_that_is_deep_in_compiled_code() -> None:
    busy = (
        "from harness.__main__ import _end_soon_after_interrupts; _end_soon_after_interrupts()\n"
        "import hashlib; print(1, flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", busy],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        time.sleep(2)  # until it is deep in there
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        running = process.poll() is None
        process.send_signal(signal.SIGINT)
        too_late = threading.Timer(GRACE / 2, process.kill)
        too_late.start()
        _, told = process.communicate()
        too_late.cancel()

    assert running
    assert process.returncode == 130
    assert told == "interrupted; what is done is kept. The same command continues from there.\n"


@pytest.mark.parametrize(
    ("defense", "code", "reason"),
    [
        ("unmakable", 2, r"the defense 'unmakable' could not be made: Mute: no message \(mine\.py:\d+\)"),
        ("unnamable", 2, r"the defense 'unnamable' could not be made: Mute: no message \(mine\.py:\d+\)"),
        ("fails_to_preprocess", 1, r"Mute: no message \(mine\.py:\d+\)"),
    ],
)
def test_whatever_a_plugin_raises_is_one_line_with_its_place(
    defense: str,
    code: int,
    reason: str,
    plugin: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    options = ("--plugin", str(plugin), "--defense", defense, *TINY, "--out", str(tmp_path / "out"))

    ended, told = call(monkeypatch, capsys, "run", *options)

    assert ended == code, told
    assert one_line(told, reason), told


def test_a_plugin_that_exits_in_its_loss_fails_its_training_and_no_other(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = ("--plugin", str(plugin), "--defense", "leaver,vanilla", *TINY, "--out", str(tmp_path / "out"))

    ended, told = call(monkeypatch, capsys, "run", *options)

    assert ended == 1
    assert re.search(r"failed: leaver, training: training leaver failed in epoch 1: SystemExit: 0 \(mine\.py:", told)
    assert "2 cells evaluated, 0 recorded before, 1 failed" in told


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("import sys\nsys.exit(0)\n", r"could not be imported: SystemExit: 0 \(mine\.py:2\)"),
        ("def (\n", r"could not be imported: SyntaxError: .* \(mine\.py:1\)"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_line(
    content: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(content, encoding="utf-8")

    ended, told = call(monkeypatch, capsys, "list", "--plugin", str(plugin))

    assert ended == 2
    assert one_line(told, reason), told


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("limit = 1.5", "sets limit = 1.5, expected a whole number"),
        ("amp = 1", "sets amp = 1, expected true or false"),
        ("level = true", "sets level = True, expected a number"),
        ("defense = [1.5, true]", "sets defense = .*, expected text"),
        ("limit = [1, 2]", "sets limit = .*, expected a whole number"),
        ("seed = 9223372036854775808", "--seed must be below 2.63"),
        ('out = "a\\u0000b"', "holds a NUL"),
        (f"suite = {'[' * 5000}{']' * 5000}", "expected a TOML file for --config"),
        ('epsilons = "1e9999999999"', "--epsilons must be above 0 and finite"),
    ],
)
def test_what_a_configuration_file_may_not_say_is_one_line(
    line: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f"{line}\n", encoding="utf-8")

    ended, told = call(monkeypatch, capsys, "run", "--config", str(file))

    assert ended == 2, told
    assert "Traceback" not in told
    assert re.search(reason, " ".join(told.split())), told


def test_a_configuration_file_that_is_a_pipe_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    os.mkfifo(tmp_path / "pipe")

    ended, told = call(monkeypatch, capsys, "run", "--config", str(tmp_path / "pipe"))

    assert ended == 2
    assert one_line(told, "which is a folder, a pipe or a device"), told


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert FILE.convert("~/a.pt", None, None) == tmp_path / "a.pt"
