"""The command `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.commands._options import FILE, FOLDER
from harness.registry import commands


@commands.register("explain")
@click.command()
@click.argument("run_folder", metavar="RUN", type=FOLDER)
@click.option("--exhibit", "names", metavar="A,B,…", help="Only these, with parameters: image_path:nu=16. Default all.")
@click.option("--dataset", metavar="NAME", help="The data set, as for run. Default: the one the run's records name.")
@click.option("--data-root", type=FOLDER, default=Path("data"), show_default=True, help="Where data sets lie.")
@click.option("--images", type=click.Path(path_type=Path), metavar="FOLDER", help="Photographs, or a single one.")
@click.option("--limit", type=int, default=512, show_default=True, help="Test images that averages are taken over.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of test images that are shown.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda:0", help="Where to compute.")
@click.option("--plugin", type=FILE, multiple=True, help="A Python file that registers a model's defense.")
def explain(run_folder: Path, names: str | None, plugin: tuple[Path, ...], **options: Any) -> int:
    """Compute what figures show and records do not hold: paths of images, attributions, spectra.

    The results go to RUN/exhibits, and `report` draws them. What is there already and was made from the same images and
    weights is left as it is. Attributions need the run's checkpoints and `pip install -e '.[explain]'`.
    """
    from harness.explain.compute import explain as explain_run
    from harness.registry import load_plugin
    from harness.spec import split_list

    for path in plugin:
        load_plugin(path)
    found = explain_run(run_folder, names=split_list(names) if names else None, **options)
    for reason in dict.fromkeys(found.missing.values()):
        failed = [name for name, why in found.missing.items() if why == reason]
        click.echo(f"not made: {', '.join(failed)}: {reason}", err=True)
    click.echo(f"{len(found.made)} made, {len(found.there)} there before, {len(found.missing)} not made", err=True)
    return 1 if found.missing and names else 0
