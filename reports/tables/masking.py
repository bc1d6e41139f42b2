"""The table `masking`: checks whether a defense only hides its gradient from adaptive attacks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from harness.metrics import mcnemar, show_epsilon, wilson
from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells, group_of
from ..collect.labels import base_name
from ..sentence import Sentence
from ..statistics.estimates import correct_in_all
from .engine.base import Finding, Table
from .engine.captions import epsilon_spaces, provenance
from .engine.layout import Label, Place, assemble, backbone_label, preprocess_label

PASS, FAIL, NOT_RUN = "pass", "FAIL", "not run"
SIGNIFICANT = 0.05
"""The p-value below which one attack counts as weaker than another on the same images."""
NOTHING_LEFT = 0.05
"""The most accuracy that may be left at the largest ε."""
ZERO_GRADIENTS, GRADIENT_WINS = 0.01, 0.9
"""The most images without any gradient, and the fewest whose margin shrinks more along it than in random directions."""
CAPTION = Sentence(
    "Checks on adaptive attacks (L∞) after Athalye et al. 2018 and Carlini et al. 2019. Attacks are compared at one ε, "
    "on the same images. A check fails when the attack that should be stronger leaves significantly more images right "
    f"(McNemar's test, p < {SIGNIFICANT}). “More effort” fails when it leaves less accuracy than the lower end of "
    "PGD-20's interval. A defense that fails hides its gradient from these attacks: its adaptive accuracy is too high.",
    short="A defense that fails hides its gradient from these attacks: its adaptive accuracy is too high. Fails: "
    f"p < {SIGNIFICANT} (McNemar).",
)

Check = Callable[[Sequence[Record]], Finding | None]


@tables.register("masking")
class MaskingChecks:
    """Pass or fail of every masking check, with the figures behind it; from the suite `masking`."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when the suite was not run."""
        networks: dict[Place, list[Record]] = defaultdict(list)
        records = [record for record in cells.diagnostics() if record.preprocessed]
        preprocess = preprocess_label(records)
        for record in records:
            row = (backbone_label(record), Label((record.seed,), str(record.seed)), preprocess(record))
            networks[Place(row, group_of(record), record.defense)].append(record)
        places = {
            place._replace(row=(*place.row, Label((number,), title))): finding
            for place, members in networks.items()
            for number, (title, check) in enumerate(CHECKS)
            if (finding := check(members)) is not None
        }
        if not places:
            return None
        return assemble(
            places,
            name="masking",
            title="Gradient masking checks",
            caption=[CAPTION, f"ε in {epsilon_spaces(records)} space.", *provenance(cells, records)],
            row_header=("backbone", "seed", "preprocess", "check"),
        )


def vanishes(members: Sequence[Record]) -> Finding | None:
    """No accuracy is left under PGD at the largest ε."""
    curve = _curve(members, "pgd")
    if not curve:
        return None
    epsilon, last = max(curve.items())
    accuracy = last.n_correct / last.n_images
    return _finding(accuracy <= NOTHING_LEFT, f"{_percent(accuracy)} left at {show_epsilon(epsilon)}")


def steps_help(members: Sequence[Record]) -> Finding | None:
    """PGD with many steps leaves no more accuracy than FGSM with one step, at any ε."""
    many, one = _curve(members, "pgd"), _curve(members, "fgsm")
    shared = sorted(many.keys() & one.keys())
    if not shared:
        return None
    worse = [epsilon for epsilon in shared if _is_weaker([many[epsilon]], [one[epsilon]])]
    at = max(shared, key=lambda epsilon: many[epsilon].n_correct - one[epsilon].n_correct)
    closest = f"PGD {_accuracy(many[at])}, FGSM {_accuracy(one[at])} at {show_epsilon(at)}"
    return _finding(not worse, f"{closest}; {len(shared) - len(worse)} of {len(shared)} radii")


def beats_black_box(members: Sequence[Record]) -> Finding | None:
    """Attacks with the gradient leave no more accuracy than one without it (Square)."""
    return _compare(members, [record for record in members if base_name(record.attack) == "square"], "Square")


def beats_transfer(members: Sequence[Record]) -> Finding | None:
    """Attacks with the gradient leave no more accuracy than another model's examples; not run without another model."""
    others = [record for record in members if record.threat == "transfer"]
    if not others:
        return Finding(verdict=NOT_RUN, evidence="needs another network: --transfer-from")
    return _compare(members, others, "transfer")


def effort_is_enough(members: Sequence[Record]) -> Finding | None:
    """More steps and restarts, and an adaptive step size (APGD), leave as much accuracy as PGD-20."""
    usual = _at_the_radius(members, "pgd")
    more = [c for c in _adaptive(members) if base_name(c.attack) == "apgd" or c.attack.startswith("pgd:")]
    if usual is None or not more:
        return None
    least = min(more, key=lambda record: record.n_correct)
    low = wilson(usual.n_correct, usual.n_images).low
    return _finding(
        least.n_correct / least.n_images >= low, f"PGD-20 {_accuracy(usual)}, {least.attack} {_accuracy(least)}"
    )


def has_gradient(members: Sequence[Record]) -> Finding | None:
    """The gradient is not zero."""
    measures = _measures(members)
    if "zero_gradients" not in measures:
        return None
    images, components = measures["zero_gradients"], measures["zero_components"]
    return _finding(
        images <= ZERO_GRADIENTS, f"zero for {_percent(images)} of images, in {_percent(components)} of components"
    )


def leads_uphill(members: Sequence[Record]) -> Finding | None:
    """The margin shrinks more along the gradient than in random directions."""
    measures = _measures(members)
    if "gradient_wins" not in measures:
        return None
    wins = measures["gradient_wins"]
    return _finding(wins >= GRADIENT_WINS, f"on {_percent(wins)} of images more than in 5 random directions")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("nothing left at large ε", vanishes),
    ("many steps ≤ one step", steps_help),
    ("white box ≤ black box", beats_black_box),
    ("white box ≤ transfer", beats_transfer),
    ("more effort, same answer", effort_is_enough),
    ("there is a gradient", has_gradient),
    ("it leads uphill", leads_uphill),
)


def _compare(members: Sequence[Record], others: Sequence[Record], name: str) -> Finding | None:
    """The worst case over the white-box attacks, against another attack at the same radius."""
    if not others:
        return None
    other = others[0]
    white = [
        c for c in _adaptive(members) if c.epsilon == other.epsilon and base_name(c.attack) in ("pgd", "apgd", "fgsm")
    ]
    if not white:
        return None
    left = correct_in_all(white).mean()
    return _finding(
        not _is_weaker(white, [other]),
        f"white box {_percent(left)}, {name} {_accuracy(other)} at {show_epsilon(other.epsilon or 0)}",
    )


def _is_weaker(attacks: Sequence[Record], others: Sequence[Record]) -> bool:
    """Whether the worst case over some attacks leaves significantly more images correct than that over others."""
    test = mcnemar(correct_in_all(attacks), correct_in_all(others))
    return test.b > test.c and test.p_value < SIGNIFICANT


def _adaptive(members: Sequence[Record]) -> list[Record]:
    return [record for record in members if record.threat == "adaptive"]


def _curve(members: Sequence[Record], attack: str) -> dict[float, Record]:
    return {record.epsilon: record for record in _adaptive(members) if record.attack == attack and record.epsilon}


def _at_the_radius(members: Sequence[Record], attack: str) -> Record | None:
    """The record of an attack at the radius at which attacks are compared."""
    probes = {c.epsilon for c in _adaptive(members) if base_name(c.attack) in ("landscape", "square", "apgd")}
    curve = _curve(members, attack)
    return next((curve[epsilon] for epsilon in probes if epsilon in curve), None)


def _measures(members: Sequence[Record]) -> Mapping[str, float]:
    """The numbers from the attack that only measures a model's gradient."""
    return next((record.details.measures for record in members if record.details.measures), {})


def _finding(holds: bool | np.bool_, evidence: str) -> Finding:
    return Finding(verdict=PASS if holds else FAIL, evidence=evidence)


def _accuracy(record: Record) -> str:
    return _percent(record.n_correct / record.n_images)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
