"""The command `smooth`: smooth pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.commands._options import SCHEMES
from harness.registry import commands


@commands.register("smooth")
@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--level", type=float, help="Sparsity level; larger keeps more detail. Default 0.6.")
@click.option("--nu", type=float, default=1.0, show_default=True, help="Coupling; larger lets large scales in first.")
@click.option(
    "--scheme",
    type=click.Choice(SCHEMES),
    default="paper",
    show_default=True,
    help="fast: the same to a fraction of a grey level, several times as fast.",
)
@click.option("--iterations", type=int, help="Stop after so many iterations instead of at a level.")
@click.option("--overwrite", is_flag=True, help="Replace OUT where IN is a single picture and OUT is there already.")
def smooth(source: Path, target: Path, overwrite: bool, **options: Any) -> int:
    """Smooth one picture, or every picture of a folder; size and file format are kept.

    Pictures with a palette and CMYK ones become RGB. A large photograph takes seconds, a minute with a large ν; the
    paper takes level 0.3 for photographs, and --scheme fast is faster. A folder's pictures are worked on beside each
    other, on as many cores as PyTorch uses (OMP_NUM_THREADS sets it). The same command goes on where an earlier one was
    interrupted. The first call on a machine compiles for half a minute.
    """
    from ..apps.pictures import smooth_pictures
    from ..apps.transform import InverseScaleSmoothing

    return smooth_pictures(source, target, InverseScaleSmoothing(**options), overwrite=overwrite)
