"""What robustness costs at test time: accuracy against milliseconds an image."""

from __future__ import annotations

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.records.schema import Record
from harness.registry import figures

from ..collect.cells import Cells, Group
from ..collect.collection import Collection
from ..collect.labels import base_name
from ..statistics.estimates import Estimate
from ..tables.engine.layout import Label, Place, backbone_label, summary_group
from ..tables.summary import measures, robustness_sentences
from . import style
from .captions import DOTS, closing_sentences
from .curves import Axis, defense_entries, panel_grid, treatment_entries, treatment_looks
from .networks import Network, by_network, treatments
from .style import Look, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUITES = ("clean", "corruption")
MOST_DEFENSES, MOST_PANELS = 12, 6
HEIGHT = 2.1
MOST_TICKS = 6
TIMES = (
    "Time: of preprocessing and prediction together, per image; making the perturbed images is not part of it. Marks: "
    "the median over the cells; horizontal bars: from the first to the third quarter. Timed"
)
Pipeline = tuple[Group, Label, str, Label]
"""A network with what stands before it: (group, backbone, defense, treatment)."""


class Milliseconds(NamedTuple):
    """Time per image over the cells of a pipeline: its quartiles."""

    low: float
    median: float
    high: float


class Times(NamedTuple):
    """How long pipelines take, all timed on one device."""

    of: Mapping[Pipeline, Milliseconds]
    device: str
    """ "" where it is not recorded."""
    elsewhere: int
    """Cells timed on other devices, which do not count."""


@figures.register("cost")
class Cost:
    """Accuracy against milliseconds per image: clean, corrupted, and under an attacker who knows the defense.

    page: a data set and network each, from 1 on
    """

    def __init__(self, *, page: int = 1) -> None:
        self.page = page

    def draw(self, collection: Collection) -> Figure | None:
        """The figure, None when nothing was timed or there is no such page."""
        timed = self._network(collection)
        if timed is None:
            return None
        network, times = timed
        styles = style.defense_style(record.defense for record in collection.cells)
        looks = treatment_looks(place.row[2] for place in network.places)
        looks = {label: look._replace(line="") for label, look in looks.items()}
        panels = sorted({place.row[1] for place in network.places})
        figure, plots = panel_grid(
            [label.text for label in panels],
            _axis(times.of[_pipeline(place)] for place in network.places),
            [defense_entries(network.defenses, styles, Look("")), treatment_entries(looks)],
            heading=network.title,
            top=style.top_of(network.places.values()),
            height=HEIGHT,
        )
        for axes, label in zip(plots, panels, strict=True):
            _draw_points(axes, network.part([label]), times.of, styles, looks)
        return figure

    def caption(self, collection: Collection) -> str:
        """What is shown and from what; "" without a figure."""
        timed = self._network(collection)
        if timed is None:
            return ""
        network, times = timed
        name = f", {times.device}" if times.elsewhere else ""  # the only device is named below
        where = f" on one device{name}." if times.device else " on a device that is not recorded."
        others = f"{times.elsewhere} cells timed on other devices do not count." if times.elsewhere else ""
        own = [f"{TIMES}{where}", others, *robustness_sentences(network.members), DOTS]
        return " ".join(filter(None, [*own, *closing_sentences(collection.cells, network)]))

    def _network(self, collection: Collection) -> tuple[Network, Times] | None:
        records, treatment, measured = _measured(collection.cells)
        times = _times(records, treatment)
        places = {place: estimate for place, estimate in measured.items() if _pipeline(place) in times.of}
        networks = by_network(places, records, most=MOST_DEFENSES, group=summary_group)
        if not 1 <= self.page <= len(networks):
            return None
        network = networks[self.page - 1]
        return network.part(sorted({place.row[1] for place in network.places})[:MOST_PANELS]), times


@functools.lru_cache(maxsize=1)
def _measured(cells: Cells) -> tuple[list[Record], Callable[[Record], Label], dict[Place, Estimate]]:
    """The cells, their treatments and all estimates; kept, since every page and its caption ask for them."""
    records, treatment = treatments(record for record in cells if _is_measured(record))
    return records, treatment, measures(records, treatment)


def _is_measured(record: Record) -> bool:
    """Whether it is scored without an attack, or against the attacker who knows the whole defense."""
    adaptive = base_name(record.suite) == "adversarial" and record.threat == "adaptive"
    return adaptive or (base_name(record.suite) in SUITES and not record.threat)


def _pipeline(place: Place) -> Pipeline:
    backbone, _, treatment = place.row
    return place.group, backbone, place.column, treatment


def _times(records: Sequence[Record], treatment: Callable[[Record], Label]) -> Times:
    """Of the device that timed the most cells: times of several do not belong in one plot."""
    timed = [(record, record.device, spent) for record in records if (spent := _milliseconds(record))]
    devices = Counter(device for _, device, _ in timed)
    usual = min(devices, key=lambda device: (-devices[device], device), default="")
    milliseconds: dict[Pipeline, list[float]] = defaultdict(list)
    for record, device, spent in timed:
        if device == usual:
            milliseconds[summary_group(record), backbone_label(record), record.defense, treatment(record)].append(spent)
    quartiles = {
        key: Milliseconds(*map(float, np.quantile(all_of, (0.25, 0.5, 0.75)))) for key, all_of in milliseconds.items()
    }
    return Times(quartiles, usual, len(timed) - devices[usual])


def _milliseconds(record: Record) -> float | None:
    """What a cell's images took each, None where it is not known.

    A later stage of an attack predicts only the images that the ones before left.
    """
    seconds = record.details.seconds
    spent = seconds.get("preprocess", 0.0) + seconds.get("predict", 0.0)
    return 1000 * spent / record.n_images if spent > 0 and "predict" in seconds and not record.stage else None


def _draw_points(
    axes: Axes,
    network: Network,
    times: Mapping[Pipeline, Milliseconds],
    styles: Mapping[str, Style],
    looks: Mapping[Label, Look],
) -> None:
    for place, estimate in sorted(network.places.items(), key=lambda item: (item[0].row, item[0].column)):
        spent, given = times[_pipeline(place)], styles[place.column]
        look = looks[place.row[2]] if estimate.complete else looks[place.row[2]]._replace(alpha=style.FAINTNESS)
        axes.hlines(estimate.value, spent.low, spent.high, color=given.colour, linewidth=0.8, alpha=look.alpha)
        style.series(axes, [spent.median], [estimate], given, look)


def _axis(times: Iterable[Milliseconds]) -> Axis:
    """A logarithmic axis with few round ticks that hold all times."""
    times = list(times)
    low, high = min(time.low for time in times), max(time.high for time in times)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        inside = [
            tick
            for tick, before, after in zip(ticks, [0.0, *ticks], [*ticks[1:], math.inf], strict=False)
            if after > low and before < high
        ]
        if len(inside) <= MOST_TICKS:
            break
    return Axis("milliseconds per image", {tick: f"{tick:g}" for tick in inside}, log=True)
