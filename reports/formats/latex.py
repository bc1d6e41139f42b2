"""Shows a table as LaTeX that fits a page: wide and long ones go on in further floats, what is still wide shrinks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..tables.engine.base import Column, Finding, Row, Table
from .render import (
    BLANK,
    HEADER_WIDTH,
    Entry,
    difference_text,
    fold,
    is_best,
    narrowed,
    paper_text,
    shown_labels,
    spread_text,
    value_text,
)

MOST_COLUMNS = 6
"""Columns of numbers in one float."""
MOST_LINES = 36
"""Lines in one float; a row takes as many as its fullest place."""
ROOMY = 3
"""Up to so many columns have room for two texts beside each other."""
LABEL_WIDTH, EVIDENCE_WIDTH = 24, 25
"""Characters after which a label, and the evidence of a finding, go on in the next line."""
_FITTED = (
    r"\providecommand{\fitted}[1]{\sbox0{#1}"
    r"\ifdim\wd0>\linewidth\sbox0{\resizebox{\linewidth}{!}{\usebox0}}\fi"
    r"\ifdim\dimexpr\ht0+\dp0\relax>.66\textheight\sbox0{\resizebox*{!}{.66\textheight}{\usebox0}}\fi\usebox0}"
)
_LAST_SET = "ž"
"""The last character of Latin Extended-A, up to which LaTeX sets letters without further packages."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "{}$&#%_"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "–": "--",
    "“": "``",
    "”": "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"$^{\dagger}$",
    "−": "$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "✓": r"$\surd$",
    "✗": r"$\times$",
    "‖": r"$\Vert$",
    "ε": r"$\varepsilon$",
    "ν": r"$\nu$",
    "κ": r"$\kappa$",
    # After the \\ that ends a row, a bracket or a star would be taken for its argument.
    **{character: f"{{{character}}}" for character in "[]*"},
}


def to_latex(table: Table) -> str:
    r"""Table environments that need the packages booktabs and graphicx, and nothing else."""
    table = narrowed(table)
    columns = list(_column_shares(table.columns))
    roomy = max(map(len, columns)) <= ROOMY
    parts = list(itertools.product(_row_shares(table.rows, roomy), columns))
    return "".join(_float(table, *part, first=number == 0) for number, part in enumerate(parts))


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is; characters that its usual fonts lack by their number, U+6570."""
    return "".join(map(_escaped, " ".join(text.split())))


def _escaped(character: str) -> str:
    known = character.isascii() or character <= _LAST_SET
    return _LATEX.get(character, character if known and character.isprintable() else f"U+{ord(character):04X}")


def _column_shares(columns: Sequence[Column]) -> Iterator[list[int]]:
    """The columns of each float: whole data sets as long as they fit, else even shares of one."""
    part: list[int] = []
    for _, members in itertools.groupby(range(len(columns)), key=lambda number: columns[number].group):
        found = list(members)
        if part and len(part) + len(found) > MOST_COLUMNS:
            yield part
            part = []
        shares = np.array_split(part + found, -(-len(part + found) // MOST_COLUMNS))
        *full, part = (list(map(int, share)) for share in shares)
        yield from full
    if part:
        yield part


def _row_shares(rows: Sequence[Row], roomy: bool) -> Iterator[list[int]]:
    """The rows of each float."""
    part: list[int] = []
    lines = 0
    for number, row in enumerate(rows):
        height = max(len(lines) for lines in [*map(_label_lines, row.labels), *_all_lines(row, roomy)])
        if part and lines + height > MOST_LINES:
            yield part
            part, lines = [], 0
        part.append(number)
        lines += height
    if part:
        yield part


def _label_lines(label: str) -> list[str]:
    return fold(label, LABEL_WIDTH).split("\n")


def _all_lines(row: Row, roomy: bool) -> list[list[str]]:
    return [_lines(entry, roomy) for entry in row.entries if entry is not None]


def _float(table: Table, rows: Sequence[int], columns: Sequence[int], *, first: bool) -> str:
    title = escape_latex(table.title)
    text = f"{title}. {escape_latex(' '.join(table.caption))}" if first else f"{title} (continued)."
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}\setlength{\belowcaptionskip}{6pt}",
        r"\providecommand{\stacked}[1]{\begin{tabular}[t]{@{}r@{}}#1\end{tabular}}",
        _FITTED,
        *([] if first else [r"\addtocounter{table}{-1}"]),
        rf"\caption[{{{title}}}]{{\footnotesize {text}}}",
        *([rf"\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', table.name)}}}"] if first else []),
        rf"\fitted{{\begin{{tabular}}{{{_label_columns(table)}{'r' * len(columns)}}}",
        r"\toprule",
        *_header(table.row_header, [table.columns[column] for column in columns]),
        r"\midrule",
        *_rows([table.rows[row] for row in rows], columns),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _label_columns(table: Table) -> str:
    """Left-aligned, a long label on several lines."""
    widest = [max(len(row.labels[place]) for row in table.rows) for place in range(len(table.row_header))]
    return "".join("l" if width <= LABEL_WIDTH else "p{36mm}" for width in widest)


def _header(row_header: Sequence[str], columns: Sequence[Column]) -> list[str]:
    blank, groups, rules = [""] * len(row_header), [], []
    start = len(blank) + 1
    for dataset, members in itertools.groupby(columns, key=lambda column: column.group):
        stop = start + len(list(members))
        groups.append(rf"\multicolumn{{{stop - start}}}{{c}}{{{escape_latex(dataset)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{stop - 1}}}")
        start = stop
    names = [escape_latex(name) for name in row_header]
    heads = [_stack(map(escape_latex, fold(column.name, HEADER_WIDTH).split("\n"))) for column in columns]
    return [rf"{' & '.join(blank + groups)} \\", " ".join(rules), rf"{' & '.join(names + heads)} \\"]


def _rows(rows: Sequence[Row], columns: Sequence[int]) -> Iterator[str]:
    labels = [row.labels for row in rows]
    for place, shown in enumerate(shown_labels(labels)):
        if place and labels[place][:-1] != labels[place - 1][:-1]:
            yield r"\addlinespace"
        cells = [_cell(rows[place].entries[column], len(columns) <= ROOMY) for column in columns]
        yield rf"{' & '.join([*map(_label, shown), *cells])} \\"


def _label(label: str) -> str:
    text = escape_latex(label)
    return rf"{{\raggedright {text}\par}}" if len(label) > LABEL_WIDTH else text


def _cell(entry: Entry | None, roomy: bool) -> str:
    return escape_latex(BLANK) if entry is None else _stack(_lines(entry, roomy))


def _lines(entry: Entry, roomy: bool) -> list[str]:
    """The lines of a place, the number first; where there is room, what belongs together on one line."""
    value = escape_latex(value_text(entry))
    if isinstance(entry, Finding):
        return [value, *(escape_latex(line) for line in fold(entry.evidence, EVIDENCE_WIDTH).split("\n") if line)]
    best = rf"\textbf{{{value}}}" if is_best(entry) else value
    spread, paper, difference = map(escape_latex, (spread_text(entry), paper_text(entry), difference_text(entry)))
    lines = [f"{best} {spread}", f"{paper} {difference}"] if roomy else [best, spread, paper, difference]
    return [line for line in lines if line.strip()]


def _stack(lines: Iterable[str]) -> str:
    """Lines above each other, right-aligned, the first on the level of the row."""
    joined = r"\\".join(filter(None, lines))
    return rf"\stacked{{{joined}}}"
