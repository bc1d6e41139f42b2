"""Cells of tests of the records database."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.records.database import Records
from harness.records.schema import Description, PlannedCell

LABELS = np.array([0, 1, 2, 3])


INDICES = np.array([10, 20, 30, 40])


HERE = {"device": "some CPU", "torch": "2"}


def description(**given: Any) -> Description:
    about = {
        "dataset": "shapes",
        "backbone": "resnet_small",
        "defense": "vanilla",
        "seed": 0,
        "suite": "clean",
        "condition": "clean",
        "preprocess": "none",
    }
    return Description(**{**about, **given})


def cell(name: str = "clean", **given: Any) -> PlannedCell:
    return PlannedCell(spec={"condition": name}, description=description(condition=name, **given))


def add(records: Records, of: PlannedCell, predictions: Any = (0, 1, 2, 0), **options: Any) -> None:
    given = {"environment": HERE, "seconds": 1.5, **options}
    records.add(of, np.array(predictions), given.pop("labels", LABELS), given.pop("indices", INDICES), **given)
