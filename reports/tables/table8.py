"""Table 8: adversarial defenses side by side at ε = 8/255."""

from __future__ import annotations

from collections.abc import Sequence

from harness.metrics import show_epsilon
from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells
from ..paper.numbers import PaperNumber, Position, paper_number
from ..sentence import Sentence
from ..statistics.estimates import worst_case
from .engine.base import Table
from .engine.captions import common, epsilon_spaces
from .engine.layout import Label, assemble, backbone_label, epsilon_label, fill, preprocess_label, threat_label
from .table2 import THREAT_TEXTS, steps_of

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
        records = [record for record in cells.of_suite("adversarial") if _belongs(record)]
        if not records:
            return None
        epsilon, preprocess = epsilon_label(records), preprocess_label(records)

        def row(record: Record) -> tuple[Label, ...]:
            return backbone_label(record), epsilon(record), threat_label(record), preprocess(record)

        places = fill(records, row=row, combine=worst_case, paper=_paper)
        return assemble(
            places,
            name="table8",
            title=f"Adversarial defenses under PGD at ε = {EPSILON} (Table 8 of the paper)",
            caption=[*_sentences(records), *common(cells, records, places, paper_note=PAPER_NOTE)],
            row_header=("backbone", "ε", "threat", "preprocess"),
        )


def _belongs(record: Record) -> bool:
    radius = record.epsilon is not None and show_epsilon(record.epsilon) == EPSILON
    return radius and record.attack == "pgd" and record.norm.lower() == "linf"


def _paper(members: Sequence[Record]) -> PaperNumber | None:
    return paper_number(members, Position((8,), f"eps={EPSILON}")) if members[0].threat == "bare" else None


def _sentences(records: Sequence[Record]) -> list[str]:
    present = {record.threat for record in records}
    known = "; ".join(text for name, text in THREAT_TEXTS.items() if name in present)
    return [
        *steps_of(records),
        f"From a random start, L∞, ε in {epsilon_spaces(records)} space.",
        Sentence(f"Threat model: {known}. Adaptive: right under PGD by every surrogate gradient of the preprocessing."),
    ]
