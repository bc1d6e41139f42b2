"""Table 2: adversarial examples."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.metrics import show_epsilon
from harness.registry import tables
from harness.spec import Spec

from ..collect.cells import Cell, Cells, base_name
from ..paper.numbers import Position, paper_number
from ..statistics.attacks import furthest, is_result, stage_place
from ..statistics.estimates import mean_accuracy, worst_case
from .base import PaperNumber, Sentence, Table
from .captions import common, epsilon_spaces
from .layout import Label, assemble, backbone_label, epsilon_label, fill, natural, preprocess_label, threat_label

THREATS = {
    "bare": "bare = made on the network alone",
    "transfer": "transfer = made on another network",
    "adaptive": "adaptive = made through the whole defense",
}
WORST_CASE = Sentence(
    "Worst case: right under every attack of the block, by every way that was tried.",
    short="Worst case: right under every attack of the block.",
)
PGD = {"steps": "20", "relative_step": "0.25"}
"""What PGD's name leaves unsaid. Its class would tell, but loads PyTorch, which tables do without."""
USUAL = ("", "exact", "bpda")
"""Ways through a preprocessor that go without saying: each has one of them, and the caption says which."""
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
        chosen = cells.of_suite("adversarial")
        if not chosen:
            return None
        epsilon, preprocess = epsilon_label(chosen), preprocess_label(chosen)

        def block(cell: Cell) -> tuple[Label, ...]:
            return backbone_label(cell), epsilon(cell), threat_label(cell), preprocess(cell)

        shown = chosen if self.stages else furthest(chosen)
        places = fill(
            cells, shown, row=lambda cell: (*block(cell), attack_label(cell)), combine=mean_accuracy, paper=_paper
        )
        if len({(cell.attack, _way(cell)) for cell in chosen}) > 1:
            worst = Label((1, ()), "worst case")
            places |= fill(
                cells, chosen, row=lambda cell: (*block(cell), worst), combine=worst_case, paper=lambda _: None
            )
        return assemble(
            places,
            name="table2",
            title="Adversarial examples (Table 2 of the paper)",
            caption=[
                *about_attacks(shown),
                WORST_CASE,
                *_flags(chosen),
                *common(cells, chosen, places, paper_note=PAPER_NOTE),
            ],
            row_header=("backbone", "ε", "threat", "preprocess", "attack"),
        )


def attack_label(cell: Cell) -> Label:
    """The attack, and where it has several, after which of its stages and which way through the preprocessing."""
    way, place = _way(cell), stage_place(cell)
    stage = "" if is_result(cell) else f"after {cell.stage}"
    words = (cell.attack, stage, f"via {way}" if way else "")
    return Label((0, natural(cell.attack), is_result(cell), place, way), " ".join(filter(None, words)))


def _way(cell: Cell) -> str:
    return "" if cell.gradient in USUAL else cell.gradient


def _paper(members: Sequence[Cell]) -> PaperNumber | None:
    cell = members[0]
    if cell.threat != "bare" or cell.attack != "pgd" or cell.norm.lower() != "linf" or cell.epsilon is None:
        return None
    return paper_number(members, Position((2, 8), f"eps={show_epsilon(cell.epsilon)}"))


def about_attacks(chosen: Sequence[Cell]) -> list[str]:
    """What captions say of attacks: threat models, norm and space of ε, and how they are made."""
    threats = {cell.threat for cell in chosen}
    norms = " and ".join(sorted({cell.norm for cell in chosen if cell.norm}))
    measured = f"{norms or 'unnamed'} norm, ε in {epsilon_spaces(chosen)} space"
    known = "; ".join(text for name, text in THREATS.items() if name in threats)
    details = (_gradients, _stages, _sources, _steps, _draws)
    return [
        Sentence(f"Threat model: {measured}; {known}.", short=f"{measured}."),
        *(Sentence(text) for said in details for text in said(chosen)),
    ]


def _gradients(chosen: Sequence[Cell]) -> list[str]:
    """How adaptive attacks get through what precedes the network."""
    through = {
        (_gradient_text(cell), base_name(cell.preprocess))
        for cell in chosen
        if cell.threat == "adaptive" and cell.preprocessed and cell.gradient
    }
    return [f"Gradient of the preprocessing in adaptive attacks: {_listed(through)}."] if through else []


def _gradient_text(cell: Cell) -> str:
    return _WAYS.get((cell.gradient, base_name(cell.preprocess))) or _WAYS.get((cell.gradient, "")) or cell.gradient


_WAYS = {
    ("bpda", ""): "BPDA",
    ("bpda", "virolbi"): "BPDA through the frozen partition",
    ("identity", ""): "BPDA as if nothing were done (via identity)",
    ("unrolled", ""): "the last iterations differentiated (via unrolled)",
}


def _stages(shown: Sequence[Cell]) -> list[str]:
    if not any(cell.stage for cell in shown):
        return []
    before = "; “after …”, what was left by then" if any(not is_result(cell) for cell in shown) else ""
    return [f"autoattack: what its last attack left, each taking on what the ones before it left{before}."]


def _sources(chosen: Sequence[Cell]) -> list[str]:
    """Whose examples transfer attacks use."""
    pairs = {(cell.transfer_from, cell.defense) for cell in chosen if cell.transfer_from}
    return [f"Transferred from: {_listed(pairs)}."] if pairs else []


def _steps(chosen: Sequence[Cell]) -> list[str]:
    given = {attack: PGD | Spec.parse(attack).parameters for attack in {cell.attack for cell in chosen}}
    takes = [
        f"{attack}: {parameters['steps']} steps of {parameters['relative_step']} ε"
        for attack, parameters in sorted(given.items())
        if base_name(attack) == "pgd"
    ]
    return [f"{'; '.join(takes)}."] if takes else []


def _draws(chosen: Sequence[Cell]) -> list[str]:
    """Over how many gradients a step is averaged for models that draw random numbers."""
    averaged = {(str(cell.draws), cell.defense) for cell in chosen if cell.draws > 1}
    return [f"Gradients averaged per step: {_listed(averaged)}."] if averaged else []


def _flags(chosen: Sequence[Cell]) -> list[str]:
    """What attacks had to say against the model, by which their numbers may be too high."""
    said = [(cell.defense, json.loads(cell.details or "{}").get("flags", [])) for cell in chosen]
    flags = {(f"“{flag}”", defense) for defense, found in said for flag in found}
    return [f"Warnings of attacks: {_listed(flags)}."] if flags else []


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    """What holds for whom: “exact for blur; BPDA for jpeg, median”."""
    whom: dict[str, list[str]] = defaultdict(list)
    for what, who in sorted(pairs):
        whom[what].append(who)
    return "; ".join(f"{what} for {', '.join(names)}" for what, names in whom.items())
