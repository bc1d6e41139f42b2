"""The command `export`: records as one tidy table."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands.options import DEFAULT_OUT, FILE, FOLDER
from harness.errors import UserError
from harness.registry import commands


@commands.register("export")
@click.command()
@click.argument("run_folder", metavar="[RUN]", required=False, type=FOLDER)
@click.option("--out", type=FOLDER, default=DEFAULT_OUT, show_default=True, help="The folder given to run.")
@click.option("--format", "kind", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--to", type=FILE, help="File to write; default RUN/cells.csv or RUN/cells.parquet.")
def export(run_folder: Path | None, out: Path, kind: str, to: Path | None) -> int:
    """Write a run's records as one tidy row per cell."""
    from harness.records.database import Records

    if to is not None and to.suffix.lower() in {".csv", ".parquet"} - {f".{kind}"}:
        raise UserError(f"--to names a {to.suffix} file, --format is {kind}. Give both alike.")
    folder = run_folder or out
    target = to or folder / f"cells.{kind}"
    with Records.open(folder) as records:
        frame = records.frame()
    try:
        frame.to_csv(target, index=False) if kind == "csv" else frame.to_parquet(target, index=False)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}.") from error
    click.echo(target)
    return 0
