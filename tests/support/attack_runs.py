"""Runs of attacks that tests look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.records.database import Records


def recorded(folder: Path) -> dict[tuple[str, ...], np.ndarray]:
    """Predictions by defense, threat, condition and whether there was preprocessing."""
    with Records.open(folder) as records:
        frame = records.frame()
        rows = zip(frame.identity, frame.defense, frame.threat, frame.condition, frame.preprocess, strict=True)
        return {
            (defense, threat, condition, "raw" if preprocess == "none" else "preprocessed"): records.predictions(key)
            for key, defense, threat, condition, preprocess in rows
        }
