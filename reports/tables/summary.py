"""The summary: one number a suite and defense."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from harness.registry import tables

from ..collect.cells import Cell, Cells, Group, base_name
from ..paper.numbers import UNSTATED, Position, paper_number
from ..statistics.estimates import mean_accuracy, worst_case
from .base import Estimate, PaperNumber, Sentence, Table
from .captions import common, epsilon_spaces
from .layout import (
    Label,
    Place,
    assemble,
    backbone_label,
    epsilon_label,
    fill,
    natural,
    preprocess_label,
    source_label,
    threat_label,
)

ORDER = ("clean", "corruption", "adversarial", "low_resolution", "frequency")
HEADLINE = {"high r=6": "high frequencies r=6", "low r=6": "low frequencies r=6"}
"""The conditions that stand for the frequency suite, in order and in words: a mean over both parts says nothing."""
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
        places = measures(cells, everything)
        return assemble(
            places,
            name="summary",
            title="Summary",
            caption=[*about_robustness(everything), *common(cells, everything, places, paper_note=UNSTATED)],
            row_header=("backbone", "measure", "preprocess"),
        )


def measured(cells: Cells) -> list[Cell]:
    """The cells that are summed up: all but those that only check attacks, of frequencies the headline's."""
    shown = [cell for cell in cells if base_name(cell.suite) != "masking"]
    with_headline = headlined(shown)
    return [cell for cell in shown if cell.suite not in with_headline or cell.condition in HEADLINE]


def headlined(chosen: Sequence[Cell]) -> set[str]:
    """The suites of which the headline's conditions were run, and which so need no mean."""
    return {cell.suite for cell in chosen if base_name(cell.suite) == "frequency" and cell.condition in HEADLINE}


def measures(
    cells: Cells, chosen: Sequence[Cell], preprocess: Callable[[Cell], Label] | None = None
) -> dict[Place, Estimate]:
    """One estimate a suite, for attacks one a threat model and ε; rows are (backbone, measure, preprocessing)."""
    scored = [cell for cell in chosen if not cell.threat]
    attacked = [cell for cell in chosen if cell.threat]
    means, robust = _mean_label(scored), _robust_label(attacked)
    treatment = preprocess or preprocess_label(chosen)

    def row(cell: Cell) -> tuple[Label, ...]:
        return backbone_label(cell), (robust if cell.threat else means)(cell), treatment(cell)

    return fill(cells, chosen, row=row, combine=_combine, paper=_paper, group=summary_group)


def summary_group(cell: Cell) -> Group:
    """Suites may be run on different numbers of images: that is said in the row, not in the column."""
    return cell.group._replace(images=0, variant="")


def about_robustness(chosen: Sequence[Cell]) -> list[str]:
    """What a caption says of robust accuracy, where attacks are among the cells."""
    attacked = [cell for cell in chosen if cell.threat]
    if not attacked:
        return []
    return [
        Sentence(
            "Robust: right under every attack of that threat model (bare, transfer or adaptive) and ε "
            f"({epsilon_spaces(attacked)} space).",
            short="Robust: right under every attack.",
        )
    ]


def _combine(cells: Cells, chosen: Sequence[Cell], row: Sequence[Cell]) -> Estimate:
    return (worst_case if chosen[0].threat else mean_accuracy)(cells, chosen, row)


def _mean_label(scored: Sequence[Cell]) -> Callable[[Cell], Label]:
    size, headline = size_label(scored), headlined(scored)

    def plain(cell: Cell) -> Label:
        place = list(HEADLINE).index(cell.condition) if cell.suite in headline else 0
        said, words = size(cell), (_headline_words if cell.suite in headline else _mean_words)(cell)
        return Label((*_suite_order(cell), 0, said.order, place), f"{words}{said.text}")

    by_suite = {suite: source_label([c for c in scored if c.suite == suite], plain) for suite in _suites(scored)}
    return lambda cell: by_suite[cell.suite](cell)


def _mean_words(cell: Cell) -> str:
    return f"{cell.suite} {'accuracy' if base_name(cell.suite) == 'clean' else 'mean'}"


def _headline_words(cell: Cell) -> str:
    """The condition of the headline, and the suite's parameters."""
    parameters = cell.suite.partition(":")[2]
    return HEADLINE[cell.condition] + (f" ({parameters})" if parameters else "")


def _robust_label(attacked: Sequence[Cell]) -> Callable[[Cell], Label]:
    size, epsilon = size_label(attacked), epsilon_label(attacked)
    variants = len(_suites(attacked)) > 1

    def label(cell: Cell) -> Label:
        radius, threat, said = epsilon(cell), threat_label(cell), size(cell)
        suite = f" ({cell.suite})" if variants else ""
        order = (*_suite_order(cell), 1, said.order, radius.order, threat.order)
        return Label(order, f"robust, {threat.text}, {radius.text}{suite}{said.text}")

    return label


def size_label(chosen: Sequence[Cell]) -> Callable[[Cell], Label]:
    """The number of images, said where a suite was run on several numbers of them."""
    sizes: dict[tuple[Group, str], set[int]] = defaultdict(set)
    for cell in chosen:
        sizes[summary_group(cell), cell.suite].add(cell.n_images)

    def label(cell: Cell) -> Label:
        several = len(sizes[summary_group(cell), cell.suite]) > 1
        return Label((cell.n_images,), f", n = {cell.n_images:,}") if several else Label((0,), "")

    return label


def _suites(chosen: Sequence[Cell]) -> set[str]:
    return {cell.suite for cell in chosen}


def _suite_order(cell: Cell) -> tuple[int, str, tuple[tuple[str, float], ...]]:
    base = base_name(cell.suite)
    return ORDER.index(base) if base in ORDER else len(ORDER), base, natural(cell.suite)


def _paper(members: Sequence[Cell]) -> PaperNumber | None:
    cell = members[0]
    position = _CLEAN.get(base_name(cell.defense))
    return paper_number(members, position) if position and base_name(cell.suite) == "clean" else None
