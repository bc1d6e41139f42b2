"""The command `watch`: how far a run is."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands.options import DEFAULT_OUT, FOLDER
from harness.registry import commands


@commands.register("watch")
@click.command()
@click.argument("run", metavar="[RUN]", default=DEFAULT_OUT, type=FOLDER)
@click.option("--once", is_flag=True, help="Print how far it is, once.")
@click.option(
    "--every", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds between two updates."
)
def watch(run: Path, once: bool, every: float) -> int:
    """Show how far a run is, until it ends or Ctrl-C. Only reads.

    Where the output is not a terminal, prints a line for every change.
    """
    from harness.evaluation.run_progress import progress_of
    from harness.evaluation.watch import follow, lines

    if once:
        click.echo("\n".join(lines(progress_of(run))))
    else:
        follow(run, every)
    return 0
