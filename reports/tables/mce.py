"""Mean corruption error: errors relative to those of a baseline, corruption by corruption."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.metrics import mean_corruption_error
from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells, group_of
from ..sentence import Sentence
from ..statistics.estimates import RESAMPLING_SEED
from .engine.base import Finding, Table
from .engine.captions import corrupted_by, provenance
from .engine.layout import WITHOUT, Label, Place, assemble, backbone_label, preprocess_label

ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""Its errors on ImageNet-C, means over the five severities (Hendrycks & Dietterich 2019, published with the data).

They are of 1,000 classes: no baseline for a data set of fewer classes, nor for some of the corruptions.
"""
SEVERITIES = frozenset(range(1, 6))
RESAMPLES = 1000
CAPTION = Sentence(
    "Error relative to a baseline's, in percent, averaged over corruptions (mCE); less is better. Each corruption's "
    "error is the mean over its severities. Baselines: vanilla of the same seed without preprocessing; AlexNet's "
    "published errors for all 15 corruptions of official ImageNet-C with its 1,000 classes. 95 % intervals from "
    "resampling images, those of a defense and of vanilla together.",
    short="Error in percent of the baseline's (vanilla of that seed, or AlexNet), averaged over corruptions; less is "
    "better.",
)

Outcomes = Mapping[tuple[str, int], np.ndarray]
"""By corruption and severity, which images are correct: [N] bool."""


@tables.register("mce")
class CorruptionError:
    """Mean corruption error relative to vanilla, and on the whole of official ImageNet-C to AlexNet."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None without corruptions or a baseline for them."""
        networks: dict[tuple[Any, ...], dict[tuple[str, int], Record]] = defaultdict(dict)
        records = cells.of_suite("corruption")
        preprocess = preprocess_label(records)
        for record in records:
            place = (backbone_label(record), record.seed, preprocess(record), group_of(record), record.defense)
            networks[place][record.condition.partition(" ")[0], record.severity or 0] = record
        places: dict[Place, Finding] = {}
        for (backbone, seed, kind, group, defense), members in networks.items():
            row = (backbone, Label((seed,), str(seed)), kind)
            outcomes = {key: record.correct() for key, record in members.items()}
            plain = networks.get((backbone, seed, WITHOUT, group, "vanilla"), {})
            baseline = {key: plain[key].correct() for key in members if key in plain}
            if baseline.keys() == outcomes.keys():
                places[Place((*row, Label((0,), "vanilla")), group, defense)] = _relative(outcomes, baseline)
            if _is_official_imagenet_c(list(members.values())):
                places[Place((*row, Label((1,), "AlexNet")), group, defense)] = _relative(outcomes, None)
        places = {place: finding for place, finding in places.items() if finding.verdict}
        if not places:
            return None
        return assemble(
            places,
            name="mce",
            title="Mean corruption error",
            caption=[CAPTION, *corrupted_by(records), *provenance(cells, records)],
            row_header=("backbone", "seed", "preprocess", "relative to"),
        )


def _is_official_imagenet_c(members: Sequence[Record]) -> bool:
    severities: dict[str, set[int]] = defaultdict(set)
    for record in members:
        severities[record.condition.partition(" ")[0]].add(record.severity or 0)
    return (
        all(record.family == "imagenet" and record.source == "official" for record in members)
        and severities.keys() == ALEXNET.keys()
        and all(each == SEVERITIES for each in severities.values())
    )


@functools.lru_cache(maxsize=1)
def _draws(count: int) -> np.ndarray:
    """How often each image counts, [1 + RESAMPLES, N]: once in the first row, as drawn at random in the others.

    Sums up to 2²⁴ are exact in single precision, which halves memory and time.
    """
    random = np.random.default_rng(RESAMPLING_SEED)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((1, count), np.float32), drawn.astype(np.float32)])


def _relative(outcomes: Outcomes, baseline: Outcomes | None) -> Finding:
    """mCE with its interval; an empty verdict where the baseline has a corruption without errors."""
    draws = _draws(len(next(iter(outcomes.values()))))
    errors = _errors(outcomes, draws)
    others = (
        {name: np.full(len(draws), ALEXNET[name]) for name in errors} if baseline is None else _errors(baseline, draws)
    )
    if any((other <= 0).any() for other in others.values()):
        return Finding(verdict="", evidence="")
    values = [
        100 * mean_corruption_error({k: v[i] for k, v in errors.items()}, {k: v[i] for k, v in others.items()})
        for i in range(len(draws))
    ]
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Finding(verdict=f"{values[0]:.1f}", evidence=f"[{low:.1f}, {high:.1f}], {len(errors)} corruptions")


def _errors(outcomes: Outcomes, draws: np.ndarray) -> dict[str, np.ndarray]:
    """By corruption, the error for each row of `draws` [R,N], averaged over severities: [R]."""
    wrong: dict[str, list[np.ndarray]] = defaultdict(list)
    for (name, _), correct in outcomes.items():
        wrong[name].append(~correct)
    mistakes = np.stack([np.sum(parts, axis=0, dtype=np.float32) for parts in wrong.values()])
    counts = (draws @ mistakes.T).astype(np.float64) / draws.shape[1]
    return {name: counts[:, place] / len(parts) for place, (name, parts) in enumerate(wrong.items())}
