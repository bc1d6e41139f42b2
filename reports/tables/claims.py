"""The table `claims`: each of the paper's claims with a verdict, its evidence and its paired test."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from harness.metrics import holm
from harness.records.schema import Record
from harness.registry import tables

from ..collect.cells import Cells, Group
from ..collect.labels import base_name
from ..paper.comparisons import CLAIMS, Claim, Comparison
from ..sentence import Sentence
from ..statistics.claim_differences import Measured, measure
from .engine.base import Finding, Table
from .engine.captions import corrupted_by, epsilon_sentence, provenance
from .engine.layout import Label, Place, assemble, summary_group

HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"
HOLDS_SO_FAR = "holds where run"
SIGNIFICANT = 0.05
CAPTION = Sentence(
    "Differences in accuracy on the same images, in points, means over conditions and seeds. Brackets: 95 % interval "
    "from resampling images, without the spread between seeds. "
    f"Holds: p < {SIGNIFICANT} and the whole interval on the claimed side. "
    f"Does not hold: p < {SIGNIFICANT} and the whole interval on the other side. Undecided at this n: all else. "
    "p: corrected for all comparisons of the claim (Holm). "
    "A claim holds when all its comparisons do, and does not when one does not. "
    "McNemar: exact test of one condition and seed. "
    "Bootstrap: of a mean, paired over images, p by its normal approximation. "
    "Noise: Gaussian, shot and impulse, all severities run. Low-frequency: r = 6. "
    "Robust: right under every attack at ε = 8/255 that both sides were scored under; “without” is under bare attacks. "
    "The paper's defenses only (ν = 1); claims 3 to 6 without preprocessing.",
    short="Differences in points. Holds: the whole interval on the claimed side and p < "
    f"{SIGNIFICANT} (Holm); undecided at this n: neither way. A claim holds when all its comparisons do. Intervals "
    "leave out the spread between seeds. Robust: at ε = 8/255. The paper's defenses only (ν = 1).",
)


class Networks(NamedTuple):
    """A column: the networks of one data set, preset and backbone, on any number of test images."""

    group: Group
    backbone: str


Results = Mapping[tuple[Networks, Comparison], Finding]


@tables.register("claims")
class Claims:
    """The paper's seven claims: evidence, verdict and paired test, by data set and backbone."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when no comparison of a claim was run."""
        columns = _columns(cells)
        measured = {
            (column, comparison): difference
            for column, members in columns.items()
            for claim in CLAIMS
            for comparison in claim.comparisons
            if (difference := measure(members, comparison)) is not None
        }
        if not measured:
            return None
        results = _judged(measured)
        used = {record.identity for each in measured.values() for record in each.used}
        records = [record for record in cells if record.identity in used]
        return assemble(
            _places(columns, results),
            name="claims",
            title="The paper's claims",
            caption=[CAPTION, *corrupted_by(records), *epsilon_sentence(records), *provenance(cells, records)],
            row_header=("claim", "comparison"),
            column_header=("dataset", "backbone"),
        )


def _columns(cells: Cells) -> dict[Networks, list[Record]]:
    columns: dict[Networks, list[Record]] = defaultdict(list)
    suites = {comparison.first.suite for claim in CLAIMS for comparison in claim.comparisons}
    for record in cells:
        if base_name(record.suite) in suites:
            columns[Networks(summary_group(record), record.backbone)].append(record)
    return columns


def _judged(measured: Mapping[tuple[Networks, Comparison], Measured]) -> Results:
    """The verdicts; p-values are corrected over the comparisons of one claim in one column, and no others."""
    results: dict[tuple[Networks, Comparison], Finding] = {}
    for column, claim in itertools.product(dict.fromkeys(column for column, _ in measured), CLAIMS):
        keys = [(column, comparison) for comparison in claim.comparisons if (column, comparison) in measured]
        corrected = holm([measured[key].difference.p_value for key in keys]) if keys else []
        for key, p in zip(keys, corrected, strict=True):
            verdict = _verdict(measured[key], key[1].bounds, p)
            results[key] = Finding(verdict=verdict, evidence=_evidence(measured[key], p))
    return results


def _verdict(each: Measured, bounds: tuple[float, float], p: float) -> str:
    lowest, highest = bounds
    if p >= SIGNIFICANT:
        return UNDECIDED
    if lowest < each.difference.low and each.difference.high < highest:
        return HOLDS
    if each.difference.high < lowest or highest < each.difference.low:
        return FAILS
    return UNDECIDED


def _evidence(each: Measured, p: float) -> str:
    mean, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in each.difference[:3])
    return f"{mean} [{low}, {high}], {each.test} p{'<0.001' if p < 0.001 else f'={p:.3f}'}, n={each.images}"


def _places(columns: Mapping[Networks, Sequence[Record]], results: Results) -> dict[Place, Finding]:
    places: dict[Place, Finding] = {}
    for number, claim in enumerate(CLAIMS):
        label = Label((number,), claim.text)
        for column in columns:
            judged = {c: results[column, c] for c in claim.comparisons if (column, c) in results}
            places[Place((label, Label((0,), "verdict")), *column)] = _summed_up(claim, judged)
            for order, comparison in enumerate(claim.comparisons, 1):
                if comparison in judged:
                    places[Place((label, Label((order,), comparison.text)), *column)] = judged[comparison]
    return places


def _summed_up(claim: Claim, judged: Mapping[Comparison, Finding]) -> Finding:
    """The claim's verdict from those of its comparisons."""
    if not judged:
        return Finding(verdict=NOT_RUN, evidence=f"needs {claim.needs}")
    counts = Counter(finding.verdict for finding in judged.values())
    missing = [comparison for comparison in claim.comparisons if comparison not in judged]
    parts = [f"{verdict} {counts[verdict]}" for verdict in (HOLDS, FAILS, UNDECIDED) if counts[verdict]]
    evidence = ", ".join([*parts, *_missing(missing, judged)])
    if counts[FAILS]:
        return Finding(verdict=FAILS, evidence=evidence)
    if counts[UNDECIDED]:
        return Finding(verdict=UNDECIDED, evidence=evidence)
    return Finding(verdict=HOLDS_SO_FAR if missing else HOLDS, evidence=evidence)


def _missing(missing: Sequence[Comparison], judged: Iterable[Comparison]) -> list[str]:
    """How many comparisons were not run, and which defenses they need."""
    lacking = sorted(_defenses(missing) - _defenses(judged))
    if not missing:
        return []
    return [f"{NOT_RUN} {len(missing)} ({', '.join(lacking)})" if lacking else f"{NOT_RUN} {len(missing)}"]


def _defenses(comparisons: Iterable[Comparison]) -> set[str]:
    return {side.defense for comparison in comparisons for side in (comparison.first, comparison.second)}
