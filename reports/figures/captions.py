"""What the captions of all figures say: how to read the marks, and from what the figure was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.records.schema import Record

from ..collect.cells import Cells
from ..statistics.estimates import Estimate
from ..tables.engine.captions import common
from ..tables.engine.layout import Places
from .networks import Network

BARS = "Bars: 95 % interval, of a mean over seeds its standard deviation."
TREATMENTS = "Open marks and dashed lines: without preprocessing; filled marks and other lines: with it."
DOTS = "Open marks: without preprocessing; filled marks: with it."
FAINT = "Faint marks: a mean over fewer of the conditions than others have."
MOST_NAMES = 12
"""Names that a caption lists; it counts the rest."""


def closing_sentences(cells: Cells, network: Network) -> list[str]:
    """The sentences that follow a figure's own: who is missing, what is faint, and `provenance`."""
    partial = any(not estimate.complete for estimate in network.places.values())
    drawn = {place: _as_drawn(estimate) for place, estimate in network.places.items()}
    return [
        *_left_out(network),
        *([FAINT] if partial else []),
        *provenance(cells, network.members, drawn),
    ]


def provenance(cells: Cells, records: Sequence[Record], places: Places) -> list[str]:
    """What the bars are, data, training, seeds, preprocessing and hardware."""
    return [BARS, *common(cells, records, places)]


def _left_out(network: Network) -> list[str]:
    """Which defenses had to be left out, and of how many."""
    missing = network.left_out
    if not missing:
        return []
    more = f" and {len(missing) - MOST_NAMES} more" if len(missing) > MOST_NAMES else ""
    named = f"{', '.join(missing[:MOST_NAMES])}{more}"
    return [f"Shown: the {len(network.defenses)} defenses with the most conditions; left out: {named}."]


def _as_drawn(estimate: Estimate) -> Estimate:
    """Without what only tables mark, so that the caption explains no mark that is not there."""
    return dataclasses.replace(
        estimate, paper=None, conditions=estimate.expected, expected_seeds=estimate.seeds, best=False
    )
