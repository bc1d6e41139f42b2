"""The paper's claims, each with the evidence found, a verdict and the paired test behind it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from harness.metrics import holm
from harness.registry import tables

from ..collect.cells import Cell, Cells, Group, base_name
from ..paper.claims import CLAIMS, Claim, Comparison
from ..statistics.comparison import Measured, measure
from .base import Finding, Sentence, Table
from .captions import corrupted_by, epsilon_spaces, provenance
from .layout import Label, Place, assemble

HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"
HOLDS_SO_FAR = "holds where run"
SIGNIFICANT = 0.05
CAPTION = Sentence(
    "Differences in accuracy on the same images, in points, with the 95 % interval from resampling images (averaged "
    "over conditions and seeds, whose own spread it leaves out). A comparison holds where the whole interval lies on "
    "the claimed side and does not where none of it does, if the p-value, corrected for all comparisons of its claim "
    f"(Holm), is under {SIGNIFICANT} too; else it is undecided at this n. A claim holds when all its comparisons do, "
    "and does not when one does not. McNemar: exact test of one condition; bootstrap: paired over images, of a mean, "
    "p by its normal approximation. Noise: Gaussian, shot and impulse, all severities run. Low-frequency: r = 6. "
    "Robust: right under every attack at ε = 8/255 that both sides were scored under; “without” is under bare "
    "attacks. The paper's defenses only (ν = 1); claims 3 to 6 without preprocessing.",
    short="A claim holds when all its comparisons do, each on the claimed side with p < "
    f"{SIGNIFICANT} (Holm). Differences in points.",
)


class Networks(NamedTuple):
    """Those that may be compared: of one data set and training, whatever the number of test images."""

    group: Group
    backbone: str


Results = Mapping[tuple[Networks, Comparison], Finding]


@tables.register("claims")
class Claims:
    """The paper's seven claims: evidence, verdict and paired test, by data set and backbone."""

    def build(self, cells: Cells) -> Table | None:
        """The table, None when nothing was run that bears on a claim."""
        columns = _columns(cells)
        measured = {
            (column, comparison): found
            for column, members in columns.items()
            for claim in CLAIMS
            for comparison in claim.comparisons
            if (found := measure(cells, members, comparison)) is not None
        }
        if not measured:
            return None
        results = _judged(measured)
        used = {cell for each in measured.values() for cell in each.used}
        chosen = [cell for cell in cells if cell in used]
        return assemble(
            _places(columns, results),
            name="claims",
            title="The paper's claims",
            caption=[CAPTION, *_about(chosen), *provenance(cells, chosen)],
            row_header=("claim", "comparison"),
            column_header=("dataset", "backbone"),
        )


def _columns(cells: Cells) -> dict[Networks, list[Cell]]:
    found: dict[Networks, list[Cell]] = defaultdict(list)
    suites = {comparison.first.suite for claim in CLAIMS for comparison in claim.comparisons}
    for cell in cells:
        if base_name(cell.suite) in suites:
            found[Networks(cell.group._replace(images=0, variant=""), cell.backbone)].append(cell)
    return found


def _judged(measured: Mapping[tuple[Networks, Comparison], Measured]) -> Results:
    """The comparisons of one claim in one column are corrected together: a verdict depends on nothing else."""
    return {
        (column, comparison): finding
        for column in dict.fromkeys(column for column, _ in measured)
        for claim in CLAIMS
        for comparison, finding in _claim_judged(
            {each: measured[column, each] for each in claim.comparisons if (column, each) in measured}
        )
    }


def _claim_judged(measured: Mapping[Comparison, Measured]) -> Iterator[tuple[Comparison, Finding]]:
    corrected = holm([each.difference.p_value for each in measured.values()]) if measured else []
    for (comparison, each), p in zip(measured.items(), corrected, strict=True):
        yield comparison, Finding(verdict=_verdict(each, comparison.claimed, p), evidence=_evidence(each, p))


def _verdict(each: Measured, claimed: tuple[float, float], p: float) -> str:
    lowest, highest = claimed
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


def _places(columns: Mapping[Networks, Sequence[Cell]], results: Results) -> dict[Place, Finding]:
    places: dict[Place, Finding] = {}
    for number, claim in enumerate(CLAIMS):
        label = Label((number,), claim.text)
        for column in columns:
            found = {c: results[column, c] for c in claim.comparisons if (column, c) in results}
            places[Place((label, Label((0,), "verdict")), *column)] = _summed_up(claim, found)
            for order, comparison in enumerate(claim.comparisons, 1):
                if comparison in found:
                    places[Place((label, Label((order,), comparison.text)), *column)] = found[comparison]
    return places


def _summed_up(claim: Claim, found: Mapping[Comparison, Finding]) -> Finding:
    """The claim's verdict from those of its comparisons."""
    if not found:
        return Finding(verdict=NOT_RUN, evidence=f"needs {claim.needs}")
    counts = Counter(finding.verdict for finding in found.values())
    missing = [comparison for comparison in claim.comparisons if comparison not in found]
    parts = [f"{verdict} {counts[verdict]}" for verdict in (HOLDS, FAILS, UNDECIDED) if counts[verdict]]
    evidence = ", ".join([*parts, *_missing(missing, found)])
    if counts[FAILS]:
        return Finding(verdict=FAILS, evidence=evidence)
    if counts[UNDECIDED]:
        return Finding(verdict=UNDECIDED, evidence=evidence)
    return Finding(verdict=HOLDS_SO_FAR if missing else HOLDS, evidence=evidence)


def _missing(missing: Sequence[Comparison], found: Iterable[Comparison]) -> list[str]:
    """How many comparisons were not run, and for want of which defenses."""
    lacking = sorted(_defenses(missing) - _defenses(found))
    if not missing:
        return []
    return [f"{NOT_RUN} {len(missing)} ({', '.join(lacking)})" if lacking else f"{NOT_RUN} {len(missing)}"]


def _defenses(comparisons: Iterable[Comparison]) -> set[str]:
    return {side.defense for comparison in comparisons for side in (comparison.first, comparison.second)}


def _about(chosen: Sequence[Cell]) -> list[str]:
    attacked = any(cell.threat for cell in chosen)
    return [*corrupted_by(chosen), *([f"ε in {epsilon_spaces(chosen)} space."] if attacked else [])]
