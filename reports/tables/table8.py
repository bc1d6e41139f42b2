"""Table 8: adversarial defenses side by side at ε = 8/255."""

from __future__ import annotations

from collections.abc import Sequence

from harness.metrics import show_epsilon
from harness.registry import tables

from ..collect.cells import Cell, Cells
from ..paper.numbers import Position, paper_number
from ..statistics.estimates import worst_case
from .base import PaperNumber, Sentence, Table
from .captions import common, epsilon_spaces
from .layout import Label, assemble, backbone_label, epsilon_label, fill, preprocess_label, threat_label
from .table2 import THREATS

EPSILON = "8/255"
PAPER_NOTE = Sentence(
    "Its numbers are from several sources and stand beside bare PGD: 43.50 for adversarial training is probably an "
    "FGSM accuracy of an earlier paper; those of ViRoLBI contradict its own Table 2 (there, on CIFAR-10, 21.04 and "
    "62.72 for virolbi_fixed where here 37.23 and 51.19 stand, with PNI's the same in both).",
    short="The paper's numbers are from several sources, which contradict each other; they stand beside bare PGD.",
)


@tables.register("table8")
class AdversarialDefenses:
    """Table 8: accuracy under PGD-20 at ε = 8/255 of every defense, by threat model, the paper's beside bare PGD."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when PGD was not run at that ε."""
        chosen = [cell for cell in cells.of_suite("adversarial") if _belongs(cell)]
        if not chosen:
            return None
        epsilon, preprocess = epsilon_label(chosen), preprocess_label(chosen)

        def row(cell: Cell) -> tuple[Label, ...]:
            return backbone_label(cell), epsilon(cell), threat_label(cell), preprocess(cell)

        places = fill(cells, chosen, row=row, combine=worst_case, paper=_paper)
        return assemble(
            places,
            name="table8",
            title=f"Adversarial defenses under PGD at ε = {EPSILON} (Table 8 of the paper)",
            caption=[*_about(chosen), *common(cells, chosen, places, paper_note=PAPER_NOTE)],
            row_header=("backbone", "ε", "threat", "preprocess"),
        )


def _belongs(cell: Cell) -> bool:
    radius = cell.epsilon is not None and show_epsilon(cell.epsilon) == EPSILON
    return radius and cell.attack == "pgd" and cell.norm.lower() == "linf"


def _paper(members: Sequence[Cell]) -> PaperNumber | None:
    return paper_number(members, Position((8,), f"eps={EPSILON}")) if members[0].threat == "bare" else None


def _about(chosen: Sequence[Cell]) -> list[str]:
    present = {cell.threat for cell in chosen}
    known = "; ".join(text for name, text in THREATS.items() if name in present)
    attack = f"PGD: 20 steps of ε/4 from a random start, L∞, ε in {epsilon_spaces(chosen)} space."
    return [
        Sentence(
            f"{attack} Threat model: {known}. Adaptive: right under PGD by every way through the preprocessing.",
            short=attack,
        )
    ]
