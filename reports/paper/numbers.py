"""The paper's numbers (arXiv 2409.18419, data/paper_tables.csv), and how its setting differs from a cell's."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.records.schema import Record

from ..collect.labels import base_name
from ..sentence import Sentence

SOURCE = "arXiv 2409.18419"
FAMILIES = ("cifar10", "cifar100", "imagenet100")
BACKBONES = ("resnet18", "resnet50", "vit_tiny")
PRETRAINED = ("resnet50", "vit_tiny")
"""The backbones that the paper fine-tuned from pretrained weights; it trained ResNet-18 from scratch."""
DEFENSES = ("vanilla", "blur", "tv_layer", "pni", "virolbi_fixed", "virolbi_iterative")
_DATA = Path(__file__).parent / "data" / "paper_tables.csv"
_LEVELS = {"imagenet100": "level=0.3"}
"""By data set, the parameters of the paper's ViRoLBI where they are not the defaults (ν = 1, level 0.6)."""
ITERATIVE, STOPPED = "virolbi_iterative", "virolbi_iterative_stopped"
"""The paper's Iterative as its Appendix C trains it, to level 0.8, and as its section 4 does, to the test level."""
_OF_APPENDIX_C = (5, 6)
"""The tables of Appendix C; all others with Iterative are of section 4 or do not say."""
_KEY = ("backbone", "dataset", "condition", "preprocess", "defense")
"""The columns of the file that, with the table's number, tell its numbers apart."""

DIFFERENCES = {
    "backbone": "another network (ResNet-18, on ImageNet100 ResNet-50; of ViT-tiny the one with 16-pixel patches)",
    "pretraining": "other initial weights (ResNet-50's and ViT-tiny's pretrained, ResNet-18's not)",
    "data": "the original images",
    "training": "its own full training",
    "start": "a first level of Iterative training that it does not state",
    "end": "Iterative training that stops at level 0.6, on ImageNet100 0.3, if its section 4 counts (see above)",
    "preprocessing": "other preprocessing (ViRoLBI with ν = 1 at level 0.6, on ImageNet100 0.3; blur for Blur)",
    "corruptions": "the published corrupted files",
    "severities": "other severities (1–5, on ImageNet100 1–2)",
    "epsilon": "ε on normalised images",
    "radius": "a radius r that it does not state",
}
COMPARISON = (
    "behind it ours − the paper's. ✓: our interval covers the paper's number, ✗: it does not; the uncertainty of the "
    "paper's number is left out. In parentheses where settings differ (†): there it neither confirms nor refutes the "
    "paper."
)
UNSTATED = "The paper does not say whether it preprocessed here; its numbers stand in the rows without."


class PaperNumber(NamedTuple):
    """An accuracy of the paper."""

    accuracy: float
    """In percent."""
    differences: tuple[str, ...] = ()
    """How its setting differs from ours, as keys of DIFFERENCES; () for the same setting."""


class Position(NamedTuple):
    """Where a number stands in the paper."""

    tables: tuple[int, ...]
    """The tables that may have it; the first one that does counts."""
    condition: str
    """The condition's name there."""


def paper_number(
    cells: Sequence[Record], position: Position, differences: Iterable[str] = (), *, defense: str | None = None
) -> PaperNumber | None:
    """The paper's accuracy for the cells of one place; None where the paper has none.

    A defense with its own parameters has none, unless `defense` says which of the paper's it is. A backbone's
    parameters do not matter; a backbone that the paper did not use is compared with the paper's residual network.

    differences: keys of DIFFERENCES, added to those that are seen in the cells.
    """
    record = cells[0]
    defense = defense or papers_defense(record)
    base = base_name(record.backbone)
    residual = "resnet50" if record.family == "imagenet100" else "resnet18"
    backbone = base if base in BACKBONES else residual
    for preprocess in ("yes",) if record.preprocessed else ("no", "unstated"):
        for table in position.tables:
            named = ITERATIVE if defense == STOPPED else defense
            key = (table, backbone, record.family, position.condition, preprocess, named)
            if key in _numbers():
                iterative = {ITERATIVE: ["end"], STOPPED: ["start"]}.get(defense or "", [])
                own = iterative if table not in _OF_APPENDIX_C else []
                return PaperNumber(_numbers()[key], (*_differences(cells, backbone), *own, *differences))
    return None


def clean_accuracies(family: str) -> dict[float, float]:
    """The paper's clean accuracy in percent by the level trained at (Tables 5 and 6); at level 1.0 Vanilla's."""
    levels = (
        (re.fullmatch(r"sparsity=(\d\.\d)", str(condition)), accuracy)
        for (table, _, dataset, condition, _, _), accuracy in _numbers().items()
        if table in (5, 6) and dataset == family
    )
    return {float(level[1]): accuracy for level, accuracy in levels if level}


def explain(papers: Sequence[PaperNumber], note: str = "") -> list[str]:
    """A caption's sentences on the paper's numbers in a table; `note` follows the source."""
    if not papers:
        return []
    differences = {difference for number in papers for difference in number.differences}
    reasons = ", ".join(text for name, text in DIFFERENCES.items() if name in differences)
    source = Sentence(
        f"“paper”: {SOURCE}; {COMPARISON}",
        short="“paper”: its number, then ours − the paper's. ✓: our interval covers it, ✗: it does not; in parentheses "
        "it proves nothing.",
    )
    sentences = [source, *([note] if note else [])]
    setting = Sentence(f"† The paper measured this with {reasons}.", short="† The paper's setting is another.")
    return [*sentences, setting] if differences else sentences


def severity_difference(cells: Sequence[Record]) -> list[str]:
    """["severities"] where a mean is over other severities than the paper's, else []."""
    theirs = {1, 2} if cells[0].family == "imagenet100" else {1, 2, 3, 4, 5}
    return [] if {record.severity for record in cells} == theirs else ["severities"]


def _differences(cells: Sequence[Record], backbone: str) -> list[str]:
    """The keys of DIFFERENCES that are true of any of the cells."""
    differing = {name for record in cells for name, differs in _compared(record, backbone).items() if differs}
    return [name for name in DIFFERENCES if name in differing]


def _compared(record: Record, backbone: str) -> dict[str, bool]:
    """By key of DIFFERENCES, whether the paper's setting with this backbone differs from the record's."""
    base, _, given = record.backbone.partition(":")
    parameters = set(given.split(",")) - {""}
    pretrained = "pretrained=true" in parameters
    return {
        "backbone": base != backbone or bool(parameters - {"pretrained=true"}),
        "pretraining": base == backbone and pretrained != (base in PRETRAINED),
        "data": record.dataset != record.family,
        "training": record.altered or record.preset != "paper",
        "preprocessing": record.preprocessed and not papers_preprocessing(record),
        "corruptions": record.source.startswith("generated"),
        "epsilon": record.epsilon_space == "pixel",
    }


def papers_defense(record: Record) -> str | None:
    """The paper's defense that a record is of, for example "virolbi_fixed"; None for other parameters."""
    base, _, parameters = record.defense.partition(":")
    return base if parameters == (_LEVELS.get(record.family, "") if base.startswith("virolbi_") else "") else None


def papers_preprocessing(record: Record) -> bool:
    """Whether test images were preprocessed as in the paper."""
    if base_name(record.defense) == "blur":
        return record.preprocess == "blur"
    name, _, parameters = record.preprocess.partition(":")
    return name == "virolbi" and parameters == _LEVELS.get(record.family, "")


@functools.cache
def _numbers() -> dict[tuple[int | str | None, ...], float]:
    """By table and `_KEY`, the paper's accuracies in percent."""
    with _DATA.open(encoding="utf-8", newline="") as file:
        return {
            (int(row["table"]), *(row[name] for name in _KEY)): float(row["accuracy"]) for row in csv.DictReader(file)
        }
