"""The table `summary`: one number for each suite and defense."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells, Group
from ..collect.labels import base_name, natural, parameters_text, position
from ..paper.numbers import UNSTATED, PaperNumber, Position, paper_number
from ..sentence import Sentence
from ..statistics.estimates import Estimate, mean_accuracy, worst_case
from .engine.base import Table
from .engine.captions import common, epsilon_spaces, warnings_of_attacks
from .engine.layout import (
    Label,
    Place,
    assemble,
    backbone_label,
    epsilon_label,
    fill,
    preprocess_label,
    source_label,
    summary_group,
    threat_label,
)

ORDER = ("clean", "corruption", "adversarial", "low_resolution", "frequency")
HEADLINE = {"high r=6": "high frequencies r=6", "low r=6": "low frequencies r=6"}
"""The conditions that stand for the frequency suite, with their names: a mean over both parts means nothing."""
_CLEAN = {
    "vanilla": Position((5, 6), "sparsity=1.0"),
    "virolbi_fixed": Position((5,), "sparsity=0.6"),
    "virolbi_iterative": Position((5, 6), "sparsity=0.3..0.8"),
}
"""Where the paper's clean accuracies stand; it has none for level 0.3 on ImageNet100."""


@tables.register("summary")
class Summary:
    """Clean accuracy, the mean over each suite's conditions, and robust accuracy per threat model and ε.

    Of the frequency suite, the high and the low part at r = 6; a mean over all only where these were not run.
    """

    def build(self, cells: Cells) -> Table | None:
        """The table, None when only attacks were checked."""
        everything = measured(cells)
        if not everything:
            return None
        places = measures(everything)
        return assemble(
            places,
            name="summary",
            title="Summary",
            caption=[
                *robustness_sentences(everything),
                *warnings_of_attacks(everything),
                *common(cells, everything, places, paper_note=UNSTATED),
            ],
            row_header=("backbone", "measure", "preprocess"),
        )


def measured(cells: Cells) -> list[Record]:
    """The records of the summary: all but diagnostics, and of frequencies those of HEADLINE where there are any."""
    scores = cells.scores()
    with_headline = headlined(scores)
    return [record for record in scores if record.suite not in with_headline or record.condition in HEADLINE]


def headlined(records: Sequence[Record]) -> set[str]:
    """The frequency suites with conditions of HEADLINE, which therefore need no mean."""
    return {
        record.suite for record in records if base_name(record.suite) == "frequency" and record.condition in HEADLINE
    }


def measures(records: Sequence[Record], preprocess: Callable[[Record], Label] | None = None) -> dict[Place, Estimate]:
    """One estimate for each suite, for attacks one for each threat model and ε.

    Rows are (backbone, measure, preprocessing).
    """
    scored = [record for record in records if not record.threat]
    attacked = [record for record in records if record.threat]
    means, robust = _mean_label(scored), _robust_label(attacked)
    treatment = preprocess or preprocess_label(records)

    def row(record: Record) -> tuple[Label, ...]:
        return backbone_label(record), (robust if record.threat else means)(record), treatment(record)

    def combine(here: Sequence[Record], of_row: Sequence[Record]) -> Estimate:
        return (worst_case if here[0].threat else mean_accuracy)(here, of_row)

    return fill(records, row=row, combine=combine, paper=_paper, group=summary_group)


def robustness_sentences(records: Sequence[Record]) -> list[str]:
    """A caption's sentences on robust accuracy, where attacks are among the records."""
    attacked = [record for record in records if record.threat]
    if not attacked:
        return []
    return [
        Sentence(
            "Robust: right under every attack of that threat model (bare, transfer or adaptive) and ε "
            f"({epsilon_spaces(attacked)} space).",
            short="Robust: right under every attack run.",
        )
    ]


def _mean_label(scored: Sequence[Record]) -> Callable[[Record], Label]:
    size, headline = size_label(scored), headlined(scored)

    def plain(record: Record) -> Label:
        images, place = size(record), 0
        text = f"{record.suite} {'accuracy' if base_name(record.suite) == 'clean' else 'mean'}"
        if record.suite in headline:
            parameters, place = parameters_text(record.suite), list(HEADLINE).index(record.condition)
            text = HEADLINE[record.condition] + (f" ({parameters})" if parameters else "")
        return Label((*suite_order(record), 0, images.order, place), text + images.text)

    by_suite = {suite: source_label([c for c in scored if c.suite == suite], plain) for suite in _suites(scored)}
    return lambda record: by_suite[record.suite](record)


def _robust_label(attacked: Sequence[Record]) -> Callable[[Record], Label]:
    size, epsilon = size_label(attacked), epsilon_label(attacked)
    variants = len(_suites(attacked)) > 1

    def label(record: Record) -> Label:
        radius, threat, images = epsilon(record), threat_label(record), size(record)
        suite = f" ({record.suite})" if variants else ""
        order = (*suite_order(record), 1, images.order, radius.order, threat.order)
        return Label(order, f"robust, {threat.text}, {radius.text}{suite}{images.text}")

    return label


def size_label(records: Sequence[Record]) -> Callable[[Record], Label]:
    """The number of images, where a suite was run with several of them; else an empty text."""
    sizes: dict[tuple[Group, str], set[int]] = defaultdict(set)
    for record in records:
        sizes[summary_group(record), record.suite].add(record.n_images)

    def label(record: Record) -> Label:
        several = len(sizes[summary_group(record), record.suite]) > 1
        return Label((record.n_images,), f", n = {record.n_images:,}") if several else Label((0,), "")

    return label


def _suites(records: Sequence[Record]) -> set[str]:
    return {record.suite for record in records}


def suite_order(record: Record) -> tuple[int, str, tuple[tuple[str, float], ...]]:
    """A sort key for suites: the paper's first."""
    base = base_name(record.suite)
    return position(ORDER, base), base, natural(record.suite)


def _paper(members: Sequence[Record]) -> PaperNumber | None:
    record = members[0]
    position = _CLEAN.get(base_name(record.defense))
    return paper_number(members, position) if position and base_name(record.suite) == "clean" else None
