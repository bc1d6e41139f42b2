"""What a caption must say about every table: how to read a number, and from what it was made."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..collect.cells import Cell, Cells
from ..paper.numbers import explain
from ..statistics.unsmoothed import about_smoothing
from .base import Estimate, Sentence
from .layout import Places

DATA = Sentence(
    "“data …”: other images under the same name and so not comparable; what follows begins the digest that exported "
    "cells have as `data`.",
    short="“data …”: other images of that name, not comparable.",
)
ONE_SEED = Sentence("Accuracy in percent with its 95 % interval.", short="Percent right [95 % interval].")
OVER_SEEDS = Sentence(
    "Accuracy in percent with its 95 % interval, over seeds mean ± standard deviation; the interval there, in the CSV "
    "file and in the page's tooltips, is at each end the wider of Student's t over the seeds' means and of resampled "
    "images.",
    short="Percent right [95 % interval], over seeds mean ± standard deviation.",
)
_NAMES: tuple[Callable[[Cell], str], ...] = (
    lambda cell: cell.defense,
    lambda cell: cell.dataset,
    lambda cell: cell.backbone,
    lambda cell: f"seed {cell.seed}",
)
"""What tells the networks of one preset apart."""


def common(cells: Cells, chosen: Sequence[Cell], places: Places, *, paper_note: str = "") -> list[str]:
    """The sentences shared by all tables made from the chosen cells; `paper_note` where the paper's numbers are."""
    estimates = [entry for entry in places.values() if isinstance(entry, Estimate)]
    several = any(estimate.seeds > 1 for estimate in estimates)
    sentences = [
        OVER_SEEDS if several else ONE_SEED,
        *provenance(cells, chosen),
        *explain(estimates, paper_note),
    ]
    if any(not estimate.complete for estimate in estimates):
        sentences.append("(k/m): recorded for k of the row's m conditions only, and out of the contest for the best.")
    if any(estimate.seeds < estimate.expected_seeds for estimate in estimates):
        sentences.append("(k seeds): over those k of the table's seeds that have all the conditions recorded here.")
    return sentences


def numbers_text(numbers: Iterable[int]) -> str:
    """Whole numbers in short: runs of three and more as a range.

    >>> numbers_text([5, 1, 2, 3])
    '1–3, 5'
    """
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def provenance(cells: Cells, chosen: Sequence[Cell]) -> list[str]:
    """From what a table was made: what is missing, images, training, seeds, hardware, preprocessing, its failures."""
    return [
        *_unfinished(cells.unfinished),
        *_images(chosen),
        Sentence(f"Training: {_training(chosen)}."),
        *_seeds(cells, chosen),
        *_hardware(chosen),
        *_preprocessing(chosen),
        *about_smoothing(chosen),
        *_contested(sum(cell.identity in cells.contested for cell in chosen)),
        *_left_out(cells.superseded),
    ]


def epsilon_spaces(chosen: Sequence[Cell]) -> str:
    """Where the ε of the attacked among these cells is measured: “pixel”, “normalized and pixel”."""
    return " and ".join(sorted({cell.epsilon_space for cell in chosen if cell.epsilon_space})) or "unnamed"


def corrupted_by(chosen: Sequence[Cell]) -> list[str]:
    """Whose corrupted images these are: the published files' or generated ones."""
    sources = " and ".join(sorted({cell.source for cell in chosen if cell.source}))
    return [f"Corrupted images: {sources}."] if sources else []


def _unfinished(runs: Mapping[str, tuple[int, int]]) -> list[str]:
    """Which runs are not through, so that a worst case may become worse yet."""
    parts = [f"{done:,} of {planned:,} planned cells of {run}" for run, (done, planned) in runs.items()]
    return [f"Incomplete: {'; '.join(parts)}."] if parts else []


def _images(chosen: Sequence[Cell]) -> list[str]:
    images: dict[str, set[int]] = defaultdict(set)
    for cell in chosen:
        images[cell.dataset].add(cell.n_images)
    data = "; ".join(f"{name}, n = {' and '.join(f'{n:,}' for n in sorted(images[name]))}" for name in sorted(images))
    return [f"Test images: {data}.", *([DATA] if any(cell.data for cell in chosen) else [])]


def _hardware(chosen: Sequence[Cell]) -> list[str]:
    devices = sorted({cell.device for cell in chosen if cell.device})
    return [Sentence(f"Hardware: {'; '.join(devices)}.")] if devices else []


def _training(chosen: Sequence[Cell]) -> str:
    """How the networks were trained; in whose case, where one preset's networks were trained differently."""
    by_preset: dict[str, list[Cell]] = defaultdict(list)
    for cell in chosen:
        by_preset[cell.preset].append(cell)
    return "; ".join(part for preset in sorted(by_preset) for part in _told_apart(by_preset[preset]))


def _told_apart(cells: Sequence[Cell]) -> list[str]:
    """One text for all, or each with as few of the networks' names as tell for which ones it holds."""
    for count in range(len(_NAMES) + 1):
        for names in itertools.combinations(_NAMES, count):
            found: dict[tuple[str, ...], set[str]] = defaultdict(set)
            for cell in cells:
                found[tuple(show(cell) for show in names)].add(_training_text(cell))
            if all(len(texts) == 1 for texts in found.values()):
                return _grouped({" ".join(key): min(texts) for key, texts in found.items()})
    return sorted({_training_text(cell) for cell in cells})


def _grouped(texts: Mapping[str, str]) -> list[str]:
    """From whose to what, each text once: “12 epochs for blur, vanilla”."""
    whose: dict[str, list[str]] = defaultdict(list)
    for name, text in sorted(texts.items()):
        whose[text].append(name)
    return [f"{text} for {', '.join(names)}" if names != [""] else text for text, names in whose.items()]


def _training_text(cell: Cell) -> str:
    preset = f"{cell.preset or 'unknown'} preset"
    epochs = "" if cell.epochs is None else f"{cell.epochs:,} epoch{'' if cell.epochs == 1 else 's'}"
    images = "" if cell.train_images is None else f"on {cell.train_images:,} images"
    parts = (f"altered {preset}" if cell.altered else preset, f"{epochs} {images}".strip())
    return ", ".join(filter(None, (*parts, "bfloat16" if cell.amp else "")))


def _seeds(cells: Cells, chosen: Sequence[Cell]) -> list[str]:
    """Which seeds, and which of them are one network."""
    used = sorted({cell.seed for cell in chosen})
    twins = {(cell.defense, cells.twins[cell.network]) for cell in chosen if cell.network in cells.twins}
    several = f"Seeds {numbers_text(used)}."
    return [
        several if len(used) > 1 else Sentence(f"Seed {numbers_text(used)}."),
        *(
            f"Seeds {numbers_text(seeds)} of {defense} have the same weights and count as one network."
            for defense, seeds in sorted(twins)
        ),
    ]


def _contested(count: int) -> list[str]:
    """How many of a table's cells runs contradict each other in."""
    if not count:
        return []
    which = "1 cell, of which runs recorded" if count == 1 else f"{count:,} cells, of which runs recorded"
    return [f"Contested: {which} different predictions; those recorded first count."]


def _left_out(superseded: int) -> list[str]:
    """How many cells of the records, whatever the table, are in no table."""
    if not superseded:
        return []
    which = "1 cell that a later used one" if superseded == 1 else f"{superseded:,} cells that later used ones"
    return [f"{which} of the same settings replaced {'is' if superseded == 1 else 'are'} left out."]


def _preprocessing(chosen: Sequence[Cell]) -> list[str]:
    used: dict[str, set[str]] = defaultdict(set)
    for cell in chosen:
        if cell.preprocessed:
            used[cell.preprocess].add(cell.defense)
    if len(used) < 2:
        return [f"Preprocessing: {name}." for name in used]
    whose = "; ".join(f"{name} for {', '.join(sorted(used[name]))}" for name in sorted(used))
    return [Sentence(f"Preprocessing: {whose}.")]
