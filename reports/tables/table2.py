"""Table 2: adversarial examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.metrics import show_epsilon
from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells
from ..collect.labels import base_name, natural
from ..paper.numbers import PaperNumber, Position, paper_number
from ..sentence import Sentence
from ..statistics.attack_coverage import furthest, is_result
from ..statistics.estimates import mean_accuracy, worst_case
from .engine.base import Table
from .engine.captions import by_text, common, epsilon_spaces, warnings_of_attacks
from .engine.layout import Label, assemble, backbone_label, epsilon_label, fill, preprocess_label, threat_label

THREAT_TEXTS = {
    "bare": "bare = made on the network alone",
    "transfer": "transfer = made on another network",
    "adaptive": "adaptive = made through the whole defense",
}
WORST_CASE = Sentence(
    "Worst case: right under every attack of the block, by every surrogate gradient that was used.",
    short="Worst case: right under every attack of the block.",
)
PAPER_NOTE = Sentence(
    "The paper does not name the attack or the threat model of its Table 2; its numbers stand beside bare PGD "
    "(the TV layer's are from its Table 8, which contradicts its Table 2 on ViRoLBI).",
    short="The paper names neither attack nor threat model: its numbers stand beside bare PGD.",
)


@tables.register("table2")
class AdversarialExamples:
    """Table 2: adversarial examples per ε, threat model and attack, and the worst case per image over attacks.

    stages: whether to show what each of AutoAttack's attacks left, besides its result
    """

    def __init__(self, *, stages: bool = False) -> None:
        self.stages = stages

    def build(self, cells: Cells) -> Table | None:
        """The table, None when no attack was run."""
        records = cells.of_suite("adversarial")
        if not records:
            return None
        epsilon, preprocess = epsilon_label(records), preprocess_label(records)

        def block(record: Record) -> tuple[Label, ...]:
            return backbone_label(record), epsilon(record), threat_label(record), preprocess(record)

        rows = records if self.stages else furthest(records)
        places = fill(
            rows, row=lambda record: (*block(record), attack_label(record)), combine=mean_accuracy, paper=_paper
        )
        if len({(record.attack, _unusual_gradient(record)) for record in records}) > 1:
            worst = Label((1, ()), "worst case")
            places |= fill(
                records, row=lambda record: (*block(record), worst), combine=worst_case, paper=lambda _: None
            )
        return assemble(
            places,
            name="table2",
            title="Adversarial examples (Table 2 of the paper)",
            caption=[
                *attack_sentences(rows),
                WORST_CASE,
                *warnings_of_attacks(records),
                *common(cells, records, places, paper_note=PAPER_NOTE),
            ],
            row_header=("backbone", "ε", "threat", "preprocess", "attack"),
        )


def attack_label(record: Record) -> Label:
    """The attack, the last stage of an unfinished one, and the surrogate gradient where it is not the usual one."""
    gradient, finished = _unusual_gradient(record), is_result(record)
    stage = "" if finished else f"after {record.stage}"
    words = (record.attack, stage, f"via {gradient}" if gradient else "")
    place = -1 if finished else record.stage_index
    return Label((0, natural(record.attack), finished, place, gradient), " ".join(filter(None, words)))


def _unusual_gradient(record: Record) -> str:
    return "" if record.usual_gradient else record.gradient


def _paper(members: Sequence[Record]) -> PaperNumber | None:
    record = members[0]
    if record.threat != "bare" or record.attack != "pgd" or record.norm.lower() != "linf" or record.epsilon is None:
        return None
    return paper_number(members, Position((2, 8), f"eps={show_epsilon(record.epsilon)}"))


def attack_sentences(records: Sequence[Record]) -> list[str]:
    """A caption's sentences on attacks: threat models, norm and space of ε, and settings."""
    threats = {record.threat for record in records}
    norms = " and ".join(sorted({record.norm for record in records if record.norm}))
    measured = f"{norms or 'unnamed'} norm, ε in {epsilon_spaces(records)} space"
    known = "; ".join(text for name, text in THREAT_TEXTS.items() if name in threats)
    return [
        Sentence(f"Threat model: {measured}; {known}.", short=f"{measured}."),
        *map(Sentence, _gradients(records)),
        *_stages(records),
        *_sources(records),
        *map(Sentence, [*steps_of(records), *_draws(records)]),
    ]


def _gradients(records: Sequence[Record]) -> list[str]:
    """The surrogate gradients of adaptive attacks, with the preprocessors."""
    gradients = {
        (_gradient_text(record), base_name(record.preprocess))
        for record in records
        if record.threat == "adaptive" and record.preprocessed and record.gradient
    }
    return [f"Gradient of the preprocessing in adaptive attacks: {_listed(gradients)}."] if gradients else []


def _gradient_text(record: Record) -> str:
    return (
        GRADIENTS.get((record.gradient, base_name(record.preprocess)))
        or GRADIENTS.get((record.gradient, ""))
        or record.gradient
    )


GRADIENTS = {
    ("bpda", ""): "BPDA",
    ("bpda", "virolbi"): "BPDA through the frozen partition",
    ("identity", ""): "BPDA as if nothing were done (via identity)",
    ("unrolled", ""): "the last iterations differentiated (via unrolled)",
}


def _stages(rows: Sequence[Record]) -> list[str]:
    if not any(record.stage for record in rows):
        return []
    unfinished = any(not is_result(record) for record in rows)
    return [
        "autoattack: what its last attack left. Each of its attacks gets the images that those before it did not fool.",
        *(["“after …”: what was left by then."] if unfinished else []),
    ]


def _sources(records: Sequence[Record]) -> list[str]:
    """The networks whose examples transfer attacks use."""
    pairs = {(record.transfer_from, record.defense) for record in records if record.transfer_from}
    return [f"Transferred from: {_listed(pairs)}."] if pairs else []


def steps_of(records: Iterable[Record]) -> list[str]:
    """The number of steps of each attack, and their size."""
    attacks = {record.attack: record.attack_parameters for record in records}
    takes = [
        f"{attack}: {parameters['steps']} steps of {parameters['relative_step']:g} ε"
        for attack, parameters in sorted(attacks.items())
        if "relative_step" in parameters
    ]
    return [f"{'; '.join(takes)}."] if takes else []


def _draws(records: Sequence[Record]) -> list[str]:
    """The number of gradients that are averaged in a step, for stochastic models."""
    averaged = {(str(record.draws), record.defense) for record in records if record.draws > 1}
    return [f"Gradients averaged per step: {_listed(averaged)}."] if averaged else []


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    """Texts with the names that they are true of: “exact for blur; BPDA for jpeg, median”."""
    return "; ".join(f"{text} for {', '.join(names)}" for text, names in by_text(pairs).items())
