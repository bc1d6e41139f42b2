"""Tables that never were, for tests of what tables are shown as."""

from __future__ import annotations

import itertools

from reports import Table
from reports.paper.numbers import PaperNumber
from reports.statistics.estimates import Estimate
from reports.tables.engine.base import Column, Row

NASTY = r"a|b*c_d`e<i>[red]f&g%h$i#j{k}~l^m\n"
DEFENSES = ("vanilla", "blur", "pni", "virolbi_fixed", "virolbi_fixed:nu=16,level=0.5", "virolbi_iterative")


def number(value=50.0, **given):
    return Estimate(**{"value": value, "low": value - 4.2, "high": value + 4.2, "images": 500, **given})


def table(defenses=DEFENSES, datasets=("cifar10-jpeg",), backbones=("resnet18",), missing=(), **given):
    """Two corruptions, without and with preprocessing; every second number has the paper's beside it."""
    columns = tuple(Column(*pair) for pair in itertools.product(datasets, defenses))
    labels = tuple(itertools.product(backbones, ("gaussian_noise", "shot_noise"), ("without", "with")))
    papers = (PaperNumber(45.9, ("training", "data")), None)
    places = [[number(40 + r + c, paper=papers[c % 2]) for c in range(len(columns))] for r in range(len(labels))]
    for row, column in missing:
        places[row][column] = None
    return Table(
        name="table1",
        title="Natural corruptions",
        caption=("Mean over severities.", "95 % interval, ε in pixel space."),
        row_header=("backbone", "corruption", "preprocess"),
        columns=columns,
        rows=tuple(Row(label, tuple(row)) for label, row in zip(labels, places, strict=True)),
        **given,
    )


def single(estimate):
    return Table(
        name="t",
        title="T",
        caption=(),
        row_header=("row",),
        columns=(Column("d", "v"),),
        rows=(Row(("r",), (estimate,)),),
    )
