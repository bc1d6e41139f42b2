"""Records for tests of figures, and what can be seen in a figure."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_hex

from harness.records.exhibits import Exhibits
from harness.records.schema import Details
from reports import Cells
from reports.collect.collection import Collection
from reports.figures import gallery

from .record_samples import make_record

N = 100
ODD = ("$x_<b>", "_hid&den$", "a$b$")
TIMED = Details(seconds={"perturb": 9.0, "preprocess": 0.3, "predict": 0.1})


def cell(accuracy=0.5, n_images=N, **given):
    return {"accuracy": accuracy, "n_images": n_images, "details": TIMED, **given}


def noise(accuracy=0.5, condition="gaussian_noise", **given):
    return [
        cell(
            accuracy - 0.05 * severity,
            suite="corruption",
            condition=condition,
            severity=severity,
            source="generated",
            **given,
        )
        for severity in range(1, 6)
    ]


def attacks(accuracy=0.5, names=("fgsm", "pgd"), suite="adversarial", radii=(4, 8), threat="adaptive", **given):
    common = {"suite": suite, "epsilon_space": "pixel", "norm": "Linf", "threat": threat, **given}
    return [
        cell(accuracy - 0.01 * radius, condition=f"{name} {radius}", attack=name, epsilon=radius / 255, **common)
        for name in names
        for radius in radii
    ]


def collection(rows, device="a CPU"):
    records = [recorded(number, **{"device": device, **row}) for number, row in enumerate(rows)]
    return Collection(runs=("run",), cells=Cells(records), exhibits=Exhibits(), environments={})


def recorded(number, *, accuracy, n_images, **given):
    shuffled = np.random.default_rng(number).permutation(n_images) < round(accuracy * n_images)
    return make_record(f"{number:05d}", shuffled, **given)


def everything(defenses=("vanilla", "virolbi_fixed", "virolbi_fixed:level=0.4"), **given):
    rows = []
    for place, defense in enumerate(defenses):
        for preprocess in ("none", "virolbi"):
            here = {"defense": defense, "preprocess": preprocess, **given}
            rows += [cell(0.8 - 0.05 * place, **here), *noise(0.7 - 0.05 * place, **here)]
        rows += attacks(0.3, **here) + attacks(0.4, suite="masking", **here)
    return rows


def drawn(rows, name):
    (made,) = gallery.draw(collection(rows), [name])
    return made


def lines(axes):
    """The values of every line of points, by colour and whether its marks are filled."""
    marked = [line for line in axes.get_lines() if is_mark(line)]
    keys = [(to_hex(line.get_color()), line.get_markerfacecolor() != "white") for line in marked]
    return {key: np.asarray(line.get_ydata(), float).round(6).tolist() for key, line in zip(keys, marked, strict=True)}


def is_mark(line):
    return line.get_marker() not in ("None", "", None)
