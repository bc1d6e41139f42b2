"""The bench commands; nothing heavy is imported until one of them needs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from harness.commands.options import FILE, FOLDER, SCHEMES
from harness.registry import commands


@commands.register("bench")
@click.group()
def bench() -> None:
    """Measure speed on this machine.

    Every measurement is a row of OUT/NAME.csv, which only grows. The table and the plots show the last run.
    """


@bench.command("projection")
@click.option(
    "--methods",
    metavar="A,B,…",
    default="all",
    show_default=True,
    help="gradient (the iteration alone), graph (ours), graph_anew, label, csgraph, lsqr, qr, svd.",
)
@click.option("--size", type=int, default=84, show_default=True, help="Pixels a side.")
@click.option("--iterations", type=int, default=15_000, show_default=True, help="Iterations, a projection in each.")
@click.option(
    "--repeats", type=int, default=5, show_default=True, help="At most; slow methods are measured fewer times."
)
@click.option(
    "--budget",
    type=float,
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="For each method; at least one projection is measured, however long it takes.",
)
@click.option(
    "--scaling", default="16,32,48", show_default=True, metavar="N,…", help="Sizes measured briefly, for the plot."
)
@click.option("--threads", type=int, default=1, show_default=True, help="For linear algebra; everything else uses one.")
@click.option("--image", "picture", type=FILE, help="A picture. Default: the astronaut of scikit-image.")
@click.option("--out", type=FOLDER, default=Path("runs/bench"), show_default=True, help="Output folder.")
def bench_projection(
    methods: str, size: int, iterations: int, repeats: int, budget: float, scaling: str, threads: int, **files: Any
) -> int:
    """Table 7: the seconds of a path with a projection in every iteration, by several methods.

    A method that exceeds the budget is measured at iterations spread over the path and extrapolated; the table says so.
    With the defaults it takes four minutes, half of them for one projection by dense SVD.
    A report shows the result as table7 where OUT is the folder of the run that it reports on.
    """
    limit_threads(threads)
    from ..bench import commands as bench_commands
    from ..bench.projection import METHODS, Setup

    selected = METHODS if methods == "all" else bench_commands.names(methods)
    smaller = bench_commands.numbers("scaling", scaling)
    setup = Setup(selected, size, iterations, repeats, budget, smaller, files["picture"], threads)
    return bench_commands.bench_projection(setup, files["out"])


def limit_threads(threads: int) -> None:
    """Set how many threads linear algebra uses; its libraries read this once, when NumPy is imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


@bench.command("smoothing")
@click.option("--sizes", default="", metavar="N,…", help="Pixels a side. Default 32,64,96,128,224.")
@click.option("--batches", default="", metavar="N,…", help="Images at a time. Default 1,4,16,64; on a GPU up to 4096.")
@click.option("--threads", default="", metavar="N,…", help="Default 1,2,4,… up to all cores.")
@click.option("--schemes", default="", metavar="A,B,…", help=f"Default all: {','.join(SCHEMES)}.")
@click.option("--nu", default="1,16", show_default=True, metavar="X,…", help="Couplings ν.")
@click.option("--level", type=float, help="Sparsity level to stop at. Default 0.6, above 64 pixels 0.3.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="For each point; at least one call.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda:0|auto", help="Where to smooth.")
@click.option(
    "--dataset", metavar="NAME", help="Smooth the test images of a data set, scaled to --sizes. Default generated."
)
@click.option("--data-root", type=FOLDER, default=Path("data"), show_default=True, help="Where data sets lie.")
@click.option("--out", type=FOLDER, default=Path("runs/bench"), show_default=True, help="Output folder.")
def bench_smoothing(**options: Any) -> int:
    """Images a second by threads, image size, batch, scheme and ν, and the share of the machine's peak.

    One of them is varied at a time. With the defaults it takes a minute.
    """
    from ..bench import commands as bench_commands

    return bench_commands.bench_smoothing(**options)


@bench.command("schemes")
@click.option("--count", type=int, default=100, show_default=True, help="Images.")
@click.option("--dataset", metavar="NAME", help="The first test images of a data set. Default generated, 32×32.")
@click.option("--data-root", type=FOLDER, default=Path("data"), show_default=True, help="Where data sets lie.")
@click.option("--nu", default="1,4,16", show_default=True, metavar="X,…", help="Couplings ν.")
@click.option("--levels", default="0.1,0.3,0.6", show_default=True, metavar="X,…", help="Sparsity levels.")
@click.option("--out", type=FOLDER, default=Path("runs/bench"), show_default=True, help="Output folder.")
def bench_schemes(**options: Any) -> int:
    """How far the schemes' images are from the paper's, in grey levels and by the share of the support in common.

    The paper's own scheme with steps 1.9 times as long shows the effect of the step alone.
    """
    from ..bench import commands as bench_commands

    return bench_commands.bench_schemes(**options)
