"""`python -m harness`: the command line. It imports nothing heavy before a command needs it: help shows at once."""

from __future__ import annotations

import sys

import click

from harness import __version__
from harness.errors import HarnessError
from harness.registry import commands as registered


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
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HarnessError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what is done is kept. The same command continues from there.", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
