"""`python -m harness`: the command line. It imports nothing heavy before a command needs it: help shows at once."""

from __future__ import annotations

import io
import os
import sys
import warnings

import click

from harness import __version__
from harness.errors import HarnessError, line_of_user, reason_of
from harness.registry import commands as registered

INTERRUPTED = "interrupted; what is done is kept. The same command continues from there."


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


def main() -> None:
    """The entry point. Exit code: 0 when all went well, 1 for a failed cell, 2 for a user's mistake."""
    prepare_process()
    try:
        code = cli(standalone_mode=False)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        end(INTERRUPTED, 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HarnessError as error:
        end(f"error: {error}", error.exit_code)
    except BrokenPipeError:  # whoever read the output has seen enough
        end("", 1)
    except BaseException as error:
        if line_of_user(error) is None and not isinstance(error, OSError):
            raise  # a fault of the harness, whose traceback whoever mends it needs
        end(f"error: {reason_of(error)}", 1)
    sys.exit(code if isinstance(code, int) else 0)


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
    if os.environ.pop("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        click.echo("NUMBA_DISABLE_JIT is ignored: uncompiled, smoothing one image takes minutes.", err=True)


def end(text: str, code: int) -> None:
    """End the process with a last line on standard error."""
    try:
        if text:
            click.echo(text, err=True)
        sys.stdout.flush()
    except (OSError, ValueError):  # the stream that failed
        sys.stdout = None  # else Python tries once more, and complains
    sys.exit(code)


if __name__ == "__main__":
    main()
