"""The sentences that captions share: how to read a number, and what a table was made from."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.records.schema import Record

from ...collect.cells import Cells, network_of
from ...collect.labels import base_name, natural
from ...paper.numbers import ITERATIVE, STOPPED, explain
from ...sentence import Sentence, counted, listed
from ...statistics.estimates import Estimate
from ...statistics.unchanged_images import Unchanged, unchanged
from .layout import Places

DATA = Sentence(
    "“data …”: other images under the same name, which are not comparable. The digits are the first of the digest that "
    "exported cells have as `data`.",
    short="“data …”: other images of that name, not comparable.",
)
ONE_SEED = Sentence("Accuracy in percent with its 95 % interval.", short="Percent right [95 % interval].")
OVER_SEEDS = Sentence(
    "Accuracy in percent with its 95 % interval; over seeds, mean ± standard deviation. The interval over seeds is in "
    "the CSV file and in the page's tooltips. Each of its ends is the wider of two: Student's t over the seeds' means, "
    "and resampled images.",
    short="Percent right [95 % interval], over seeds mean ± standard deviation.",
)
MOST_CONDITIONS = 6
"""The number of conditions that a caption lists; it counts the rest."""
_NAMES: tuple[Callable[[Record], str], ...] = (
    lambda record: record.defense,
    lambda record: record.dataset,
    lambda record: record.backbone,
    lambda record: f"seed {record.seed}",
)
"""What may tell the networks of one preset apart."""


def common(cells: Cells, records: Sequence[Record], places: Places, *, paper_note: str = "") -> list[str]:
    """The sentences of every table of accuracies, with `paper_note` where the table has the paper's numbers."""
    estimates = [value for value in places.values() if isinstance(value, Estimate)]
    several = any(estimate.seeds > 1 for estimate in estimates)
    sentences = [
        OVER_SEEDS if several else ONE_SEED,
        *provenance(cells, records),
        *explain([estimate.paper for estimate in estimates if estimate.paper is not None], paper_note),
    ]
    if any(not estimate.complete for estimate in estimates):
        sentences.append(
            "(k/m): only k of the row's m conditions are recorded; such a number is never marked as the best."
        )
    if any(estimate.seeds < estimate.expected_seeds for estimate in estimates):
        sentences.append(
            "(k seeds): a mean over k of the table's seeds, those that have all the conditions recorded here."
        )
    return sentences


def warnings_of_attacks(records: Iterable[Record]) -> list[str]:
    """What attacks warned of: the robust accuracies of these models may be too high."""
    whose = by_text((flag, record.defense) for record in records for flag in record.details.flags)
    texts = [f"“{flag}” for {', '.join(names)}" for flag, names in whose.items()]
    return [f"Warnings of attacks: {'; '.join(texts)}."] if texts else []


def by_text(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """From pairs of a text and a name, the names by text; both sorted, each once."""
    names: dict[str, list[str]] = defaultdict(list)
    for text, name in sorted(set(pairs)):
        names[text].append(name)
    return dict(names)


def numbers_text(numbers: Iterable[int]) -> str:
    """Whole numbers, runs of three and more as a range.

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


def provenance(cells: Cells, records: Sequence[Record]) -> list[str]:
    """What a table was made from: missing cells, images, training, seeds, hardware, preprocessing, conflicts."""
    return [
        *_unfinished(cells.unfinished),
        *_images(records),
        *_training(records),
        *_ends(records),
        *_kept(records),
        *_normalization(records),
        *_seeds(cells, records),
        *_hardware(records),
        *_preprocessing(records),
        *_unchanged(records),
        *_contested(sum(record.identity in cells.contested for record in records)),
        *_superseded(cells.superseded),
    ]


def epsilon_sentence(records: Sequence[Record]) -> list[str]:
    """In which space ε is measured, where attacks are among the records."""
    return [f"ε in {epsilon_spaces(records)} space."] if any(record.threat for record in records) else []


def epsilon_spaces(records: Sequence[Record]) -> str:
    """The spaces in which ε is measured: “pixel”, “normalized and pixel”."""
    return " and ".join(sorted({record.epsilon_space for record in records if record.epsilon_space})) or "unnamed"


def corrupted_by(records: Sequence[Record]) -> list[str]:
    """Where the corrupted images are from: published files, or generated."""
    sources = " and ".join(sorted({record.source for record in records if record.source}))
    return [f"Corrupted images: {sources}."] if sources else []


def _unfinished(runs: Mapping[str, tuple[int, int]]) -> list[str]:
    """Which runs are unfinished: a worst case over their attacks may still fall."""
    parts = [f"{done:,} of {planned:,} planned cells of {run}" for run, (done, planned) in runs.items()]
    return [f"Incomplete: {'; '.join(parts)}."] if parts else []


def _images(records: Sequence[Record]) -> list[str]:
    images: dict[str, set[int]] = defaultdict(set)
    for record in records:
        images[record.dataset].add(record.n_images)
    data = "; ".join(f"{name}, n = {' and '.join(f'{n:,}' for n in sorted(images[name]))}" for name in sorted(images))
    return [f"Test images: {data}.", *([DATA] if any(record.data for record in records) else [])]


def _hardware(records: Sequence[Record]) -> list[str]:
    devices = sorted({record.device for record in records if record.device})
    return [Sentence(f"Hardware: {'; '.join(devices)}.")] if devices else []


def _training(records: Sequence[Record]) -> list[str]:
    """How the networks were trained, with their names where networks of one preset were trained differently.

    The terminal leaves it out where all were trained in one way and as their preset says.
    """
    by_preset: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_preset[record.preset].append(record)
    texts = [text for preset in sorted(by_preset) for text in _training_texts(by_preset[preset])]
    sentence = f"Training: {'; '.join(texts)}."
    usual = len(texts) == 1 and not any(record.altered or record.amp for record in records)
    return [Sentence(sentence) if usual else sentence]


def _ends(records: Sequence[Record]) -> list[str]:
    """Which network Iterative is judged by: that after the last level of its training."""
    ends = {
        record.defense: (float(record.defense_parameters["end"]), float(record.defense_parameters["level"]))
        for record in records
        if base_name(record.defense) == ITERATIVE
        and {"end", "level"} <= record.defense_parameters.keys()
        and not record.details.trained.get("kept")
    }
    said: list[str] = [
        Sentence(
            f"{name}: the network after the last level of its training, {end:g} (the paper's Appendix C: 0.8)"
            + (f"; the paper's section 4 stops at the test level, as {STOPPED} does." if end > level else "."),
            short=f"{name}: trained to level {end:g}" + (", not only to the test level." if end > level else "."),
        )
        for name, (end, level) in sorted(ends.items())
    ]
    if any(base_name(record.defense) == STOPPED for record in records):
        said.append(
            Sentence(
                f"{STOPPED}: training ends at the test level, as the paper's section 4 says; its first level, half of "
                f"that, is not stated there. The paper's Appendix C goes on to 0.8, as {ITERATIVE} does.",
                short=f"{STOPPED}: trained up to the test level.",
            )
        )
    return said


def _kept(records: Sequence[Record]) -> list[str]:
    """Which networks were kept before their training was over."""
    names = sorted(
        f"{record.defense} (epoch {record.details.trained['epoch']} of {record.epochs})"
        for record in {record.defense: record for record in records}.values()
        if record.epochs and record.details.trained.get("epoch", record.epochs) < record.epochs
    )
    text = "kept before the learning rate had come down; a training that ends there may be better"
    return [f"{', '.join(names)}: {text}."] if names else []


def _normalization(records: Sequence[Record]) -> list[str]:
    """What was assumed of weights from elsewhere, which say nothing of their normalisation."""
    given = ((str(record.details.trained.get("normalization", "")), record.defense) for record in records)
    whose = by_text((text, name) for text, name in given if text)
    return [f"Normalisation of weights from elsewhere: {text} ({', '.join(names)})." for text, names in whose.items()]


def _training_texts(records: Sequence[Record]) -> list[str]:
    """How these networks were trained: one text, or several, each with the names of its networks.

    The names use as few of `_NAMES` as possible so that networks of different texts have different names.
    """
    for count in range(len(_NAMES) + 1):
        for names in itertools.combinations(_NAMES, count):
            texts: dict[tuple[str, ...], set[str]] = defaultdict(set)
            for record in records:
                texts[tuple(name(record) for name in names)].add(_training_text(record))
            if all(len(of_one_name) == 1 for of_one_name in texts.values()):
                return _with_names({" ".join(key): min(of_one_name) for key, of_one_name in texts.items()})
    return sorted({_training_text(record) for record in records})


def _with_names(texts: Mapping[str, str]) -> list[str]:
    """From texts by name, each text once with its names: “12 epochs for blur, vanilla”."""
    names_of: dict[str, list[str]] = defaultdict(list)
    for name, text in sorted(texts.items()):
        names_of[text].append(name)
    return [f"{text} for {', '.join(names)}" if names != [""] else text for text, names in names_of.items()]


def _training_text(record: Record) -> str:
    preset = f"{record.preset or 'unknown'} preset"
    epochs = "" if record.epochs is None else counted(record.epochs, "epoch")
    images = "" if record.train_images is None else f"on {record.train_images:,} images"
    parts = (f"altered {preset}" if record.altered else preset, f"{epochs} {images}".strip())
    return ", ".join(filter(None, (*parts, "bfloat16" if record.amp else "")))


def _seeds(cells: Cells, records: Sequence[Record]) -> list[str]:
    """The seeds, and which of them are one network."""
    numbers = sorted({record.seed for record in records})
    twins = {
        (record.defense, cells.twins[network_of(record)]) for record in records if network_of(record) in cells.twins
    }
    return [
        f"Seeds {numbers_text(numbers)}." if len(numbers) > 1 else Sentence(f"Seed {numbers_text(numbers)}."),
        *(
            f"Seeds {numbers_text(seeds)} of {defense} have the same weights and count as one network."
            for defense, seeds in sorted(twins)
        ),
    ]


def _contested(count: int) -> list[str]:
    """How many cells of a table have different predictions in different runs."""
    cells = counted(count, "cell")
    return [f"Contested: runs recorded different predictions of {cells}; those recorded first count."] if count else []


def _superseded(count: int) -> list[str]:
    """How many records are in no table."""
    cells = f"{counted(count, 'cell')} {'is' if count == 1 else 'are'}"
    return [f"{cells} left out, replaced by later ones of the same settings."] if count else []


def _preprocessing(records: Sequence[Record]) -> list[str]:
    """The preprocessors; where there are several, each with its defenses."""
    defenses = by_text((record.preprocess, record.defense) for record in records if record.preprocessed)
    if len(defenses) < 2:
        return [f"Preprocessing: {name}." for name in defenses]
    parts = [f"{name} for {', '.join(names)}" for name, names in defenses.items()]
    text = f"Preprocessing: {'; '.join(parts)}."
    one_each = sum(map(len, defenses.values())) == len(set().union(*defenses.values()))
    return [Sentence(text, short="Preprocessing: each defense's own.") if one_each else text]


def _unchanged(records: Sequence[Record]) -> list[str]:
    """The conditions under which smoothing returned many images unchanged."""
    by_condition: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_condition[record.condition].append(record)
    conditions: dict[Unchanged, list[str]] = defaultdict(list)
    for condition, members in sorted(by_condition.items(), key=lambda each: natural(each[0])):
        if (smoothing := unchanged(members)).worth_saying:
            conditions[smoothing].append(condition)
    if not conditions:
        return []
    parts = [
        f"{images:,} of {smoothed:,} images under {listed(names, MOST_CONDITIONS)}"
        for (images, smoothed), names in conditions.items()
    ]
    return [f"Smoothing left unchanged (level unreachable): {'; '.join(parts)}."]
