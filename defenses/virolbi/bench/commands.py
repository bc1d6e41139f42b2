"""The work of the bench commands: measure, record each measurement at once, and print the table at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from harness.cache import default_cache
from harness.config import pick_device
from harness.errors import UserError
from harness.progress import say
from harness.registry import datasets
from reports.tables.engine.base import Table

from ..method.settings import SCHEMES
from . import projection, projection_report, schemes, schemes_report, smoothing, smoothing_report
from .images import Images, from_dataset, generated, gray_picture
from .measurements import Measurement, Measurements, core_count
from .table import show, write

INTERRUPTED = 130
"""The exit code of what Ctrl-C ended."""


def bench_projection(setup: projection.Setup, out: Path) -> int:
    """Table 7. Returns the exit code. Raises: UserError for what cannot be measured or written."""
    projection.check(setup)
    gray_picture(setup.picture, setup.size)  # refused before anything is written
    measurements = Measurements(out, "projection", projection.COLUMNS, torch.device("cpu"))
    return _record(
        measurements,
        lambda: projection.measure(setup, measurements),
        lambda rows: projection_report.make_table(rows, setup),
        lambda rows: [*projection_report.draw(rows, setup, out), *projection_report.keep(rows, setup, out)],
    )


def bench_smoothing(
    *,
    sizes: str,
    batches: str,
    threads: str,
    schemes: str,
    nu: str,
    level: float | None,
    seconds: float,
    device: str,
    dataset: str | None,
    data_root: Path,
    out: Path,
) -> int:
    """The speed of smoothing. Returns the exit code. Raises: UserError for what cannot be measured or written."""
    where = pick_device(device)
    source = _source(dataset, data_root)
    sweeps = smoothing.Sweeps(
        sizes=numbers("sizes", sizes) or ([source.size] if source.size else [32, 64, 96, 128, 224]),
        batches=numbers("batches", batches) or ([1, 16, 256, 4096] if where.type == "cuda" else [1, 4, 16, 64]),
        threads=numbers("threads", threads) or ([1] if where.type == "cuda" else doubling(core_count())),
        schemes=names(schemes) or SCHEMES,
        nus=real_numbers("nu", nu),
        level=level,
        seconds=seconds,
        device=where,
    )
    smoothing.check(sweeps)
    measurements = Measurements(out, "smoothing", smoothing.COLUMNS, where)
    return _record(
        measurements,
        lambda: smoothing.measure(sweeps, source.images, source.name, measurements),
        lambda rows: smoothing_report.make_table(rows, sweeps),
        lambda rows: smoothing_report.draw(rows, sweeps, out),
    )


def bench_schemes(*, count: int, dataset: str | None, data_root: Path, nu: str, levels: str, out: Path) -> int:
    """How far the schemes' images are from the paper's. Returns the exit code. Raises: UserError as the others."""
    source = _source(dataset, data_root)
    setup = schemes.Setup(
        number=count,
        size=source.size or 32,
        nus=real_numbers("nu", nu),
        levels=sorted(real_numbers("levels", levels)),
    )
    schemes.check(setup, source.number)
    measurements = Measurements(out, "schemes", schemes.COLUMNS, torch.device("cpu"))
    return _record(
        measurements,
        lambda: schemes.measure(setup, source.images, source.name, measurements),
        schemes_report.make_table,
        lambda rows: [],
    )


def numbers(option: str, text: str) -> list[int]:
    """Whole numbers from "1,2,4", each once. Raises: UserError for anything else."""
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise UserError(f"--{option} expects whole numbers such as 16,32, got {text!r}.") from error


def real_numbers(option: str, text: str) -> list[float]:
    """Numbers from "0.5,1", each once, at least one. Raises: UserError for anything else."""
    try:
        given = list(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise UserError(f"--{option} expects numbers such as 1,16, got {text!r}.") from error
    if not given:
        raise UserError(f"--{option} must be at least one number, got nothing.")
    return given


def names(text: str) -> list[str]:
    """Names from "a,b", each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def doubling(most: int) -> list[int]:
    """1, 2, 4 and so on, and `most` itself.

    >>> doubling(6)
    [1, 2, 4, 6]
    """
    return [*(1 << power for power in range(most.bit_length()) if 1 << power < most), most]


class Source(NamedTuple):
    """Where the images to smooth come from."""

    images: Images
    name: str
    size: int | None = None
    """Pixels a side; None where any can be made."""
    number: int | None = None
    """How many there are; None where any number can be made."""


def _source(dataset: str | None, data_root: Path) -> Source:
    """Generated images, or a data set's test images."""
    if dataset is None:
        return Source(generated(), "generated (dead leaves)")
    opened = datasets.create(dataset, data_root=data_root, cache=default_cache())
    images = opened.test().images
    return Source(from_dataset(images), opened.name, images.shape[-1], len(images))


def _record(
    measurements: Measurements,
    measure: Callable[[], None],
    make_table: Callable[[Sequence[Measurement]], Table],
    draw: Callable[[Sequence[Measurement]], Sequence[Path]],
) -> int:
    """Measure, then print the table, and write it and the plot beside the measurements. Returns the exit code."""
    code = 0
    try:
        measure()
    except KeyboardInterrupt:
        code = INTERRUPTED
        say(f"interrupted; the {len(measurements.rows)} measurements made are kept, and the table shows them")
    if not measurements.rows:
        return code
    file, table = measurements.file, make_table(measurements.rows)
    if table.rows:
        show(table)
    try:
        tables = write(table, file) if table.rows else []  # empty where only sizes for the plot were measured
        written = [file, *tables, *draw(measurements.rows)]
    except OSError as error:
        raise UserError(f"{file.parent} cannot be written: {error.strerror or error}. Choose another --out.") from error
    say(f"written: {', '.join(map(str, written))}")
    return code
