"""The command `report`: tables, figures and the page, from the records of runs."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands.options import DEFAULT_OUT, FILE, FOLDER, load_plugins, printed_tables, tables_option
from harness.errors import UserError
from harness.registry import commands


@commands.register("report")
@click.command()
@click.argument("runs", metavar="[RUN]…", nargs=-1, type=FOLDER)
@click.option("--out", type=FOLDER, help="Where the report goes; by default into RUN, where that is one.")
@tables_option
@click.option("--table", "only_tables", metavar="A,B,…", help="Make and print these tables only.")
@click.option("--figure", "figures", metavar="A,B,…", help="Draw these figures only.")
@click.option("--no-figures", is_flag=True, help="No figures.")
@click.option("--no-page", is_flag=True, help="No page.")
@click.option("--plugin", type=FILE, multiple=True, help="A Python file that registers further tables or figures.")
def report(
    runs: tuple[Path, ...],
    out: Path | None,
    tables: str | None,
    only_tables: str | None,
    figures: str | None,
    no_figures: bool,
    no_page: bool,
    plugin: tuple[Path, ...],
) -> int:
    """Make tables, figures and the page again from the records of runs; no model is opened.

    The summary is printed; every table and figure is written to files. Several runs, from several machines, become
    one report. A report of the same records and options is not written again.
    """
    from harness.spec import split_list
    from reports.make import ReportOptions, make_report

    if figures is not None and no_figures:
        raise UserError("--figure and --no-figures contradict each other; give one of them.")
    load_plugins(plugin)
    options = ReportOptions(
        tables=split_list(only_tables) if only_tables else None,
        figures=() if no_figures else split_list(figures) if figures else None,
        page=not no_page,
        plugins=plugin,
        printed=printed_tables(tables),
    )
    missing = make_report(runs or (out or DEFAULT_OUT,), out, options)
    return 1 if missing else 0
