"""The command `explain`: computes what figures need beside the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.commands.options import FILE, FOLDER, UserPath, load_plugins
from harness.registry import commands


@commands.register("explain")
@click.command()
@click.argument("run_folder", metavar="RUN", type=FOLDER)
@click.option(
    "--exhibit", "names", metavar="A,B,…", help="Only these exhibits: image_path:nu=16,relevance. Default all."
)
@click.option("--dataset", metavar="NAME", help="The data set, as for run. Default: the one in the run's records.")
@click.option("--data-root", type=FOLDER, default=Path("data"), show_default=True, help="Folder of data sets.")
@click.option("--images", type=UserPath(path_type=Path), metavar="FOLDER", help="A folder of photographs, or one.")
@click.option("--limit", type=int, default=512, show_default=True, help="Test images that averages are taken over.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seeds the choice of test images that are shown.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda:0", help="Where to compute.")
@click.option("--plugin", type=FILE, multiple=True, help="A Python file that registers a model's defense.")
def explain(run_folder: Path, names: str | None, plugin: tuple[Path, ...], **options: Any) -> int:
    """Compute what figures show and records do not hold: paths of images, attributions, spectra.

    The results, called exhibits, go to RUN/exhibits; `report` draws them. One that was made from the same images and
    weights is not made again. Attributions need the run's checkpoints and the packages captum and zennit.
    """
    from harness.explain.compute import explain as explain_run
    from harness.spec import split_list

    load_plugins(plugin)
    made, there, missing = explain_run(run_folder, names=split_list(names) if names else None, **options)
    for reason in dict.fromkeys(missing.values()):
        click.echo(f"not made: {', '.join(name for name in missing if missing[name] == reason)}: {reason}", err=True)
    click.echo(f"{len(made)} made, {len(there)} there before, {len(missing)} not made", err=True)
    return 1 if missing and names else 0
