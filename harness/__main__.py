"""`python -m harness`: the command line. Nothing heavy is imported until a command needs it: help comes at once."""

from __future__ import annotations

import sys

import click

from harness import __version__
from harness.errors import HarnessError
from harness.registry import commands as registered


class Commands(click.Group):
    """The registered commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return registered.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None where there is none."""
        found = [entry.factory for entry in registered if entry.name == cmd_name]
        return found[0] if found and isinstance(found[0], click.Command) else None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="virolbi-harness")
def cli() -> None:
    """A robustness benchmark for image classifiers with pluggable defenses.

    Start with:  python -m harness run --defense virolbi_iterative --suite all
    """


def main() -> None:
    """Entry point: exit code 0 when all went well, 1 for a failed cell, 2 for a user's mistake."""
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HarnessError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what is done is kept, and the same command goes on from there.", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
