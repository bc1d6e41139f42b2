"""Accuracy against the sparsity level of ViRoLBI, in training and as preprocessing."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.records.schema import Record
from harness.registry import figures
from harness.spec import Spec

from ..collect.cells import Cells, group_of
from ..collect.collection import Collection
from ..collect.labels import base_name
from ..paper.numbers import SOURCE, clean_accuracies
from ..statistics.estimates import Estimate, mean_accuracy
from ..tables.engine.layout import Label, Place, backbone_label, defense_order, fill, source_label
from . import style
from .captions import TREATMENTS, closing_sentences
from .curves import Axis, Page, defense_entries, draw_curves, panel_grid, treatment_entries, treatment_looks
from .networks import Network, by_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAINED, SMOOTHED, VANILLA = "virolbi_fixed", "virolbi", "vanilla"
SUITES = {"clean": "clean images", "corruption": "corrupted images, mean"}
TRAINING, TEST = "level in training", "level at test time"
MOST_DEFENSES = 8
HEIGHT = 2.2
OWN = (
    "Level: the share of neighbouring pixels that may differ; 1.0 stands for images that are not smoothed. In "
    "training: networks trained at that level and, with preprocessing, tested at it too; at 1.0 vanilla. At test "
    "time: one network, its test images smoothed to that level."
)
_PAPER: dict[str, Any] = {"color": style.PAPER, "linewidth": 0.9, "linestyle": "-", "marker": ".", "markersize": 3}


class _Scored(NamedTuple):
    """A cell with its place in the figure; `cell.defense` is the name of its line."""

    record: Record
    level: float
    treatment: Label


@figures.register("level")
class Level:
    """Accuracy against the sparsity level, in training and at test time.

    page: a data set and network each, from 1 on
    """

    def __init__(self, *, page: int = 1) -> None:
        self.page = page

    def draw(self, collection: Collection) -> Figure | None:
        """The figure, None where no level was varied or there is no such page."""
        network = self._network(collection.cells)
        if network is None:
            return None
        page, theirs = Page(network, 1, 1), _papers(network)
        panels, axis = page.panels, _axis([*page.ticks, *theirs])
        styles = _line_styles(collection.cells, network.defenses)
        looks = treatment_looks(place.row[2] for place in network.places)
        marks = [*treatment_entries(looks), *([("the paper", _PAPER)] if theirs else [])]
        figure, plots = panel_grid(
            [label.text for label in panels],
            axis,
            [defense_entries(network.defenses, styles), marks],
            heading=network.title,
            top=max(style.top_of(network.places.values()), style.top(max(theirs.values(), default=0.0))),
            height=HEIGHT,
        )
        for axes, (label, curves) in zip(plots, panels.items(), strict=True):
            if theirs and _is_papers(label):
                axes.plot(list(theirs), list(theirs.values()), zorder=1, **_PAPER)
            draw_curves(axes, curves, axis, styles, looks)
        return figure

    def caption(self, collection: Collection) -> str:
        """What is shown and from what; "" without a figure."""
        network = self._network(collection.cells)
        if network is None:
            return ""
        theirs = [f"The paper: {SOURCE}, Tables 5 and 6, with its own training."] if _papers(network) else []
        return " ".join([OWN, *theirs, TREATMENTS, *closing_sentences(collection.cells, network)])

    def _network(self, cells: Cells) -> Network | None:
        scored = [record for record in cells if base_name(record.suite) in SUITES]
        parts = [(TRAINING, _trained(scored)), (TEST, _smoothed(scored))]
        places = {place: each for kind, part in parts for place, each in _filled(cells, kind, part).items()}
        records = [each.record for _, part in parts for each in part]
        networks = by_network(places, records, most=MOST_DEFENSES)
        return networks[self.page - 1] if 1 <= self.page <= len(networks) else None


def _filled(cells: Cells, kind: str, part: Sequence[_Scored]) -> dict[Place, Estimate]:
    where = {(each.record.identity, each.record.defense): each for each in part}
    panel = _panel_label(kind, [each.record for each in part])

    def row(record: Record) -> tuple[Label, ...]:
        place = where[record.identity, record.defense]
        return backbone_label(record), panel(record), place.treatment, Label((place.level,), "")

    return fill([each.record for each in part], row=row, combine=mean_accuracy, paper=lambda _: None)


def _panel_label(kind: str, records: Sequence[Record]) -> Callable[[Record], Label]:
    """Training before test, in each clean before corrupted; corrupted images of several sources apart."""

    def plain(record: Record) -> Label:
        suite = base_name(record.suite)
        return Label((kind != TRAINING, list(SUITES).index(suite)), f"{kind}: {SUITES[suite]}")

    of_suite = {
        suite: source_label([record for record in records if base_name(record.suite) == suite], plain)
        for suite in SUITES
    }
    return lambda record: of_suite[base_name(record.suite)](record)


def _trained(scored: Iterable[Record]) -> list[_Scored]:
    """Networks trained at several levels, a line for all that differ in the level alone, vanilla at its end."""
    lines: dict[tuple[object, ...], list[_Scored]] = defaultdict(list)
    plain: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in scored:
        if record.defense == VANILLA and not record.preprocessed:
            plain[_images(record)].append(record)
        elif base_name(record.defense) == TRAINED and base_name(record.preprocess) in ("none", SMOOTHED):
            level, rest = record.defense_parameters["level"], _without_level(record.defense)
            treatment = Label((int(record.preprocessed),), "with" if record.preprocessed else "without")
            lines[*_images(record), rest].append(_Scored(dataclasses.replace(record, defense=rest), level, treatment))
    varied = {key: part for key, part in lines.items() if _levels(part) > 1}
    ends = [
        _Scored(dataclasses.replace(record, defense=str(rest)), 1.0, Label((0,), "without"))
        for *images, rest in varied
        for record in plain[tuple(images)]
    ]
    return [*(each for part in varied.values() for each in part), *ends]


def _smoothed(scored: Iterable[Record]) -> list[_Scored]:
    """Networks tested at several levels, a line each; at its end the images as they are."""
    lines: dict[tuple[object, ...], list[_Scored]] = defaultdict(list)
    for record in scored:
        if not record.preprocessed:
            lines[*_images(record), record.defense].append(_Scored(record, 1.0, Label((0,), "without")))
        elif base_name(record.preprocess) == SMOOTHED:
            level, rest = record.preprocess_parameters["level"], _without_level(record.preprocess)
            treatment = Label((1,), "with") if rest == SMOOTHED else Label((1, rest), f"with {rest}")
            lines[*_images(record), record.defense].append(_Scored(record, level, treatment))
    smoothed = {key: [each for each in part if each.record.preprocessed] for key, part in lines.items()}
    return [each for key, part in lines.items() if _levels(smoothed[key]) > 1 for each in part]


def _levels(part: Iterable[_Scored]) -> int:
    return len({each.level for each in part})


def _images(record: Record) -> tuple[object, ...]:
    """What the points of one line share."""
    return group_of(record), record.backbone, base_name(record.suite)


def _without_level(label: str) -> str:
    """A label without its level.

    >>> _without_level("virolbi_fixed:nu=16,level=0.5")
    'virolbi_fixed:nu=16'
    """
    others = [f"{name}={value}" for name, value in Spec.parse(label).parameters.items() if name != "level"]
    return f"{base_name(label)}:{','.join(others)}" if others else base_name(label)


def _line_styles(cells: Cells, lines: Iterable[str]) -> dict[str, style.Style]:
    """A line looks as the defense of its name does elsewhere, or as the first of the defenses that it joins."""
    known = style.defense_style(record.defense for record in cells)
    joined = {
        _without_level(name): name for name in sorted(known, key=defense_order, reverse=True) if _is_trained(name)
    }
    return {line: known.get(line) or known[joined[line]] for line in lines}


def _is_trained(defense: str) -> bool:
    return base_name(defense) == TRAINED


def _axis(levels: Iterable[float]) -> Axis:
    """Tenths, as many as hold all levels."""
    tenths = [10 * level for level in levels]
    ticks = range(math.floor(min(tenths) + 1e-9), math.ceil(max(tenths) - 1e-9) + 1)
    return Axis("sparsity level", {tick / 10: f"{tick / 10:.1f}" for tick in ticks})


def _papers(network: Network) -> dict[float, float]:
    """The paper's accuracies by level, where there are such and their panel is drawn."""
    drawn = any(_is_papers(place.row[1]) and place.column == TRAINED for place in network.places)
    return clean_accuracies(network.members[0].family) if drawn else {}


def _is_papers(panel: Label) -> bool:
    return panel.text.startswith(f"{TRAINING}: {SUITES['clean']}")
