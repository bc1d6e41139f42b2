"""Shows a table as Markdown or CSV, and the words for its places; whatever a label holds is escaped."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import re
from collections.abc import Sequence
from typing import TypeAlias

from rich.cells import cell_len

from ..statistics.estimates import Estimate
from ..tables.engine.base import DECIMALS, Finding, Row, Table

Entry: TypeAlias = Estimate | Finding
BLANK = "–"
DAGGER = "†"
COVERED, NOT_COVERED = "✓", "✗"
HEADER_WIDTH = 13
"""Characters after which a defense's name goes on in the next line of a header."""

_CSV_NUMBERS = (
    *("value", "ci_low", "ci_high", "std", "n_seeds", "n_seeds_expected"),
    *("n_images", "n_conditions", "n_conditions_expected", "paper", "paper_setting", "difference", "covered", "best"),
)
_CSV_WORDS = ("verdict", "evidence")
_MARKDOWN = re.compile(r"([\\`*\[\]<>|&~$]|(?<![^\W_])_|_(?![^\W_]))")  # an underscore inside a word is harmless


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured table under its title, the caption below."""
    heads = [escape_markdown(name) for name in table.row_header]
    heads += [f"{escape_markdown(column.group)}<br>{escape_markdown(column.name)}" for column in table.columns]
    rules = ["---"] * len(table.row_header) + ["--:"] * len(table.columns)
    lines = [_markdown_row(heads), _markdown_row(rules)]
    for labels, row in zip(shown_labels([row.labels for row in table.rows]), table.rows, strict=True):
        cells = [_markdown_cell(estimate) for estimate in row.entries]
        lines.append(_markdown_row([escape_markdown(label) for label in labels] + cells))
    return "\n".join(
        [f"## {escape_markdown(table.title)}", "", *lines, "", escape_markdown(" ".join(table.caption)), ""]
    )


def to_csv(table: Table) -> str:
    """One line per place of the table, the numbers apart and in percent; empty where nothing was run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    in_words = any(isinstance(entry, Finding) for row in table.rows for entry in row.entries)
    writer.writerow([*table.row_header, *table.column_header, *(_CSV_WORDS if in_words else _CSV_NUMBERS)])
    for row in table.rows:
        for column, entry in zip(table.columns, row.entries, strict=True):
            writer.writerow([*row.labels, *column, *(_csv_words(entry) if in_words else _csv_numbers(entry))])
    return out.getvalue()


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def value_text(estimate: Entry) -> str:
    """The number itself, "78.5"; of a finding its verdict."""
    if isinstance(estimate, Finding):
        return estimate.verdict
    return f"{estimate.value:.{DECIMALS}f}"


def spread_text(estimate: Entry) -> str:
    """Its uncertainty: "[76.1, 80.7]", over seeds "± 0.4"; what is missing follows, "(3/5, 2 seeds)".

    Of a finding its evidence.
    """
    if isinstance(estimate, Finding):
        return estimate.evidence
    if estimate.std is None:
        spread = f"[{estimate.low:.{DECIMALS}f}, {estimate.high:.{DECIMALS}f}]"
    else:
        spread = f"± {estimate.std:.{DECIMALS}f}"
    missing = [] if estimate.complete else [f"{estimate.conditions}/{estimate.expected}"]
    if estimate.seeds < estimate.expected_seeds:
        missing.append(f"{estimate.seeds} seed{'s' if estimate.seeds > 1 else ''}")
    return f"{spread} ({', '.join(missing)})" if missing else spread


def is_best(estimate: Entry) -> bool:
    """Whether it is the best of its contest; findings hold none."""
    return isinstance(estimate, Estimate) and estimate.best


def paper_text(estimate: Entry) -> str:
    """The paper's number beside it, "paper 78.46", with a dagger where its setting is another one; "" for none."""
    if isinstance(estimate, Finding) or estimate.paper is None:
        return ""
    return f"paper {estimate.paper.accuracy:.2f}{DAGGER if estimate.paper.differences else ''}"


def difference_text(estimate: Entry) -> str:
    """Ours − the paper's and whether our interval covers it, "+1.3 ✓" or "−7.0 ✗"; "" where there is no paper's.

    In another setting than the paper's the mark is in parentheses, since it says nothing about the paper.
    """
    if isinstance(estimate, Finding) or estimate.paper is None or estimate.difference is None:
        return ""
    points = round(estimate.difference, DECIMALS) + 0.0  # no −0.0
    mark = COVERED if estimate.covered else NOT_COVERED
    return f"{points:+.{DECIMALS}f} {f'({mark})' if estimate.paper.differences else mark}".replace("-", "−")


def varying_labels(table: Table) -> list[int]:
    """The row labels worth a column: those that differ between rows, and the last."""
    last = len(table.row_header) - 1
    return [place for place in range(last + 1) if place == last or len({row.labels[place] for row in table.rows}) > 1]


def constant_labels(table: Table) -> list[str]:
    """The other labels, each with its name, "backbone resnet18"."""
    kept = varying_labels(table)
    names = enumerate(table.row_header)
    return [f"{name} {table.rows[0].labels[place]}" for place, name in names if place not in kept]


def narrowed(table: Table) -> Table:
    """The table without the labels that are the same in all rows; the title says them."""
    kept = varying_labels(table)
    return dataclasses.replace(
        table,
        title=", ".join([table.title, *constant_labels(table)]),
        row_header=tuple(table.row_header[place] for place in kept),
        rows=tuple(Row(tuple(row.labels[place] for place in kept), row.entries) for row in table.rows),
    )


def shown_labels(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The labels of each row, those left blank that only repeat the row above; the last is always there."""
    shown: list[tuple[str, ...]] = []
    before: tuple[str, ...] = ()
    for labels in rows:
        pairs = zip(labels[:-1], before, strict=False)
        repeated = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        shown.append(("",) * repeated + labels[repeated:])
        before = labels
    return shown


def fold(text: str, width: int) -> str:
    """Lines of at most `width`, broken behind the characters that join the words of a name."""
    lines = [""]
    for word in re.findall(r"[^_:,\s-]*[_:,\s-]?", text):
        if lines[-1] and cell_len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(estimate: Entry | None) -> str:
    if estimate is None:
        return BLANK
    if isinstance(estimate, Finding):
        return "<br>".join(escape_markdown(text) for text in (estimate.verdict, estimate.evidence) if text)
    value = f"**{value_text(estimate)}**" if estimate.best else value_text(estimate)
    paper = f"<br>{paper_text(estimate)} {difference_text(estimate)}" if estimate.paper else ""
    return f"{value} {spread_text(estimate)}{paper}"


def _csv_words(entry: Entry | None) -> list[str]:
    return [entry.verdict, entry.evidence] if isinstance(entry, Finding) else [""] * len(_CSV_WORDS)


def _csv_numbers(estimate: Entry | None) -> list[str]:
    if not isinstance(estimate, Estimate):
        return [""] * len(_CSV_NUMBERS)
    percents = (estimate.value, estimate.low, estimate.high, estimate.std)
    paper = estimate.paper
    return [
        *("" if percent is None else f"{percent:.4f}" for percent in percents),
        *map(str, (estimate.seeds, estimate.expected_seeds)),
        *map(str, (estimate.images, estimate.conditions, estimate.expected)),
        f"{paper.accuracy:.2f}" if paper else "",
        _paper_setting(paper.differences) if paper else "",
        "" if estimate.difference is None else f"{estimate.difference:.4f}",
        "" if estimate.covered is None else _truth(estimate.covered),
        _truth(estimate.best),
    ]


def _truth(holds: bool) -> str:
    return "true" if holds else "false"


def _paper_setting(differences: Sequence[str]) -> str:
    return f"other {', '.join(differences)}" if differences else "same"
