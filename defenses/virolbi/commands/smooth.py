"""The command `smooth`: smooth pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.commands.options import SCHEMES, UserPath
from harness.registry import commands


@commands.register("smooth")
@click.command()
@click.argument("source", metavar="IN", type=UserPath(path_type=Path))
@click.argument("target", metavar="OUT", type=UserPath(path_type=Path))
@click.option("--level", type=float, help="Sparsity level from 0 to 1; larger keeps more detail. Default 0.6.")
@click.option("--nu", type=float, default=1.0, show_default=True, help="Coupling; larger prefers scale to contrast.")
@click.option(
    "--scheme",
    type=click.Choice(SCHEMES),
    default="paper",
    show_default=True,
    help="fast: the same to a fraction of a grey level, in a fifth of the iterations.",
)
@click.option("--iterations", type=int, help="Stop after so many iterations instead of at a level.")
@click.option("--overwrite", is_flag=True, help="Replace OUT where IN is a single picture and OUT exists.")
def smooth(source: Path, target: Path, overwrite: bool, **options: Any) -> int:
    """Smooth one picture, or every picture of a folder; size and file format are kept.

    Pictures with a palette and CMYK ones become RGB. A large photograph takes seconds, with a large ν a minute, and
    less with --scheme fast. For photographs the paper uses level 0.3. A folder's pictures are smoothed in parallel,
    on as many cores as PyTorch uses (OMP_NUM_THREADS sets it). After an interruption, the same command continues. The
    first call on a machine compiles for half a minute.
    """
    from ..apps.pictures import smooth_pictures
    from ..apps.transform import InverseScaleSmoothing

    return smooth_pictures(source, target, InverseScaleSmoothing(**options), overwrite=overwrite)
