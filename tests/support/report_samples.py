"""Records that never were, for tests of reports."""

from __future__ import annotations

import numpy as np

from harness.records.schema import Details
from reports import Cells, build

from .record_samples import make_record

N = 200


class Recording:
    """Records as a run would make them, with outcomes drawn from a generator of their own.

    rows: what is given of each · outcomes: by identity, which images were right; a test may set them.
    """

    def __init__(self):
        self.rows, self.outcomes = [], {}

    def add(self, accuracy=0.5, n_images=N, **given):
        number = len(self.rows)
        identity = f"{number:04d}"
        self.outcomes[identity] = np.random.default_rng(number).permutation(n_images) < round(accuracy * n_images)
        self.rows.append({"identity": identity, **given})

    def noise(self, accuracy=0.5, severities=(1, 2, 3, 4, 5), condition="gaussian_noise", **given):
        for severity in severities:
            given.setdefault("source", "official")
            self.add(accuracy - 0.02 * severity, suite="corruption", condition=condition, severity=severity, **given)

    def attack(self, accuracy=0.3, attack="pgd", epsilon=8, threat="bare", **given):
        base = {"suite": "adversarial", "epsilon_space": "normalized", "norm": "Linf"}
        named = {"condition": f"{attack} eps={epsilon}/255", "attack": attack, "epsilon": epsilon / 255}
        self.add(accuracy, threat=threat, **{**base, **named, **given})

    def records(self):
        return [make_record(correct=self.outcomes[row["identity"]], **row) for row in self.rows]

    def cells(self):
        return Cells(self.records())

    def table(self, name):
        (table,) = build(self.cells(), [name])
        return table


def full_recording(defenses=("vanilla", "blur", "virolbi_fixed"), **given):
    recording = Recording()
    for place, defense in enumerate(defenses):
        for preprocess in ("none", "blur" if defense == "blur" else "virolbi"):
            common = {"defense": defense, "preprocess": preprocess, **given}
            recording.add(0.8 - 0.01 * place, **common)
            for condition in ("gaussian_noise", "shot_noise"):
                recording.noise(0.6 + 0.01 * place, condition=condition, **common)
            for attack in ("fgsm", "pgd"):
                recording.attack(0.3, attack=attack, **common)
            for scale in ("1/2", "1/4"):
                recording.add(0.4, suite="low_resolution", condition=f"scale={scale}", **common)
            for radius in (4, 6, 16):
                for part in ("low", "high"):
                    recording.add(0.5, suite="frequency", condition=f"{part} r={radius}", **common)
    return recording


MASKING = {"suite": "masking", "threat": "adaptive", "preprocess": "virolbi", "epsilon_space": "pixel"}
HONEST = {
    ("fgsm", 1): 0.6, ("fgsm", 8): 0.3, ("fgsm", 128): 0.1,
    ("pgd", 1): 0.55, ("pgd", 8): 0.1, ("pgd", 128): 0.0,
    ("square:queries=1000", 8): 0.2, ("apgd", 8): 0.09, ("pgd:steps=100,restarts=5", 8): 0.09, ("landscape", 8): 0.3,
}  # fmt: skip


def masking(changes=None, measures=(0.0, 0.02, 0.97), transfer=0.5, **given) -> Recording:
    """A recording of the suite in which everything holds, but for the changes."""
    recording = Recording()
    for (attack, epsilon), accuracy in {**HONEST, **(changes or {})}.items():
        names = ("zero_gradients", "zero_components", "gradient_wins")
        measured = dict(zip(names, measures, strict=True)) if attack == "landscape" else {}
        details = Details(measures=measured)
        recording.attack(accuracy, attack, epsilon, **{**MASKING, "details": details, **given})
    recording.attack(transfer, "pgd", 8, **{**MASKING, "threat": "transfer", **given})
    for identity, correct in recording.outcomes.items():  # the same images are the hard ones for all
        recording.outcomes[identity] = np.arange(N) < correct.sum()
    return recording


def labels(table):
    return [row.labels for row in table.rows]


def estimates(table, *wanted):
    """The estimates of the rows that hold all the wanted labels."""
    (row,) = [row for row in table.rows if set(wanted) <= set(row.labels)]
    return row.entries
