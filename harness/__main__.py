"""`python -m harness`: the command line. It imports nothing heavy before a command needs it: help shows at once."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import sys
import threading
import warnings
from types import FrameType

import click

from harness import __version__
from harness.errors import HarnessError, line_of_user, reason_of
from harness.registry import commands as registered

INTERRUPTED = "interrupted; what is done is kept. The same command continues from there."
INTERRUPTED_CODE = 130
GRACE = 5.0
"""Seconds in which the main thread should notice Ctrl-C."""


class Commands(click.Group):
    """The commands of `harness.registry.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, sorted."""
        return registered.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; None where there is none."""
        named = (entry.factory for entry in registered if entry.name == cmd_name)
        return next((command for command in named if isinstance(command, click.Command)), None)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="virolbi-harness")
def cli() -> None:
    """A robustness benchmark for image classifiers and their defenses.

    Start with:  python -m harness run --defense virolbi_iterative --suite all
    """


def start() -> None:
    """The entry point of a process."""
    prepare_process()
    _end_soon_after_interrupts()
    main()


def main() -> None:
    """Run the command that `sys.argv` names. Exit code: 0 when all went well, 1 for a failed cell, 2 for a mistake."""
    code, last_line = _outcome()
    try:
        if last_line:
            click.echo(last_line, err=True)
        _flush()
    except OSError:  # standard output or error cannot be written
        sys.stdout = None  # else Python tries once more, and complains
        code = code or 1
    if code == INTERRUPTED_CODE:
        os._exit(code)  # without waiting for threads, which may be compiling
    sys.exit(code)


def _outcome() -> tuple[int, str]:
    """The command's exit code, and what is to be said of it."""
    try:
        code = cli(standalone_mode=False)
        _flush()
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED_CODE, INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code, ""
    except HarnessError as error:
        return error.exit_code, f"error: {error}"
    except BrokenPipeError:  # whoever read the output has seen enough
        return 1, ""
    except BaseException as error:
        if line_of_user(error) is None and not isinstance(error, OSError):
            raise  # a fault of the harness, whose traceback whoever mends it needs
        return 1, f"error: {reason_of(error)}"
    return code if isinstance(code, int) else 0, ""


def _flush() -> None:
    """Write out standard output, where a plugin has left one. Raises: OSError when it cannot be written."""
    if sys.stdout is not None:
        sys.stdout.flush()


def prepare_process() -> None:
    """Keep what surrounds the process (streams, umask, environment) from costing a result."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started the process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an encoding without ε or ✓, as of a pipe on Windows
    os.umask(os.umask(0o077) & 0o077)  # the owner may always read and write what a command writes
    os.environ["MPLBACKEND"] = "agg"  # a notebook's is none that another process knows
    if any(option.startswith("error") for option in sys.warnoptions):
        warnings.simplefilter("default")
    for name in ("NUMBA_NUM_THREADS", "NUMBA_OPT"):
        os.environ.pop(name, None)  # nothing here depends on them but Numba's import, which fails for wrong values


def _end_soon_after_interrupts() -> None:
    """End the process at a second Ctrl-C, and GRACE seconds after one that the main thread does not notice.

    Python tells the main thread of Ctrl-C, and the compiler may keep that busy for half a minute. What is recorded is
    safe: every file and every cell is written whole or not at all.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, as in a job in the background
        return
    noticed = threading.Event()
    told, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.detach(), warn_on_full_buffer=False)  # never closed

    def notice(number: int, frame: FrameType | None) -> None:
        noticed.set()
        signal.default_int_handler(number, frame)

    def watch() -> None:
        _wait_for_interrupt(told)
        told.settimeout(GRACE)
        try:
            _wait_for_interrupt(told)
        except TimeoutError:
            if noticed.is_set():
                told.settimeout(None)
                _wait_for_interrupt(told)
        with contextlib.suppress(OSError):
            os.write(2, f"{INTERRUPTED}\n".encode())
        os._exit(INTERRUPTED_CODE)

    signal.signal(signal.SIGINT, notice)
    threading.Thread(target=watch, name="interrupts", daemon=True).start()


def _wait_for_interrupt(told: socket.socket) -> None:
    """Read the numbers of signals up to that of Ctrl-C."""
    while told.recv(1) != bytes([signal.SIGINT]):
        pass


if __name__ == "__main__":
    start()
