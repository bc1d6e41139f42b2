"""The paper's Table 7: how long its projection took (data/table7_projection_seconds.csv)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

SIZE, ITERATIONS = 84, 15_000
"""The side of the image in pixels, and the number of iterations that the paper timed."""
_DATA = Path(__file__).parent / "data" / "table7_projection_seconds.csv"


class PaperSeconds(NamedTuple):
    """Seconds for 15,000 iterations on an 84×84 gray image: mean and standard deviation."""

    mean: float
    std: float


def paper_seconds() -> dict[str, PaperSeconds]:
    """By method: svd, lsqr and graph."""
    with _DATA.open(encoding="utf-8", newline="") as file:
        return {row["method"]: PaperSeconds(float(row["seconds"]), float(row["std"])) for row in csv.DictReader(file)}
