"""What a caption must say about every table: how to read a number, and from what it was made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from .cells import Cell, Cells
from .layout import Places
from .paper import explain


def common(cells: Cells, chosen: Sequence[Cell], places: Places, *, paper_note: str = "") -> list[str]:
    """The sentences shared by all tables made from the chosen cells; `paper_note` where the paper's numbers are."""
    estimates = list(places.values())
    several = any(estimate.seeds > 1 for estimate in estimates)
    sentences = [
        "Accuracy in percent with its 95 % interval"
        + (", over seeds mean ± standard deviation" if several else "")
        + ".",
        _provenance(chosen),
        *_preprocessing(chosen),
        *explain(estimates, paper_note),
    ]
    if any(not estimate.complete for estimate in estimates):
        sentences.append("(k/m): recorded for k of the row's m conditions only, and out of the contest for the best.")
    if cells.superseded:
        sentences.append(f"{cells.superseded} cells that later ones of the same settings replaced are left out.")
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


def _provenance(chosen: Sequence[Cell]) -> str:
    images: dict[str, set[int]] = defaultdict(set)
    for cell in chosen:
        images[cell.dataset].add(cell.n_images)
    data = "; ".join(f"{name}, n = {' and '.join(f'{n:,}' for n in sorted(images[name]))}" for name in sorted(images))
    presets = " and ".join(sorted({cell.preset for cell in chosen if cell.preset})) or "unnamed"
    seeds = sorted({cell.seed for cell in chosen})
    which = f"{'Seeds' if len(seeds) > 1 else 'Seed'} {numbers_text(seeds)}"
    return f"Test images: {data}. Training preset: {presets}. {which}."


def _preprocessing(chosen: Sequence[Cell]) -> list[str]:
    used: dict[str, set[str]] = defaultdict(set)
    for cell in chosen:
        if cell.preprocessed:
            used[cell.preprocess].add(cell.defense)
    if len(used) < 2:
        return [f"Preprocessing: {name}." for name in used]
    return ["Preprocessing: " + "; ".join(f"{name} for {', '.join(sorted(used[name]))}" for name in sorted(used)) + "."]
