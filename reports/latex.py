"""Shows a table as LaTeX that fits a page: wide and long ones go on in further floats, what is still wide shrinks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .render import (
    BLANK,
    HEADER_WIDTH,
    Entry,
    difference_text,
    fold,
    is_best,
    paper_text,
    shown_labels,
    spread_text,
    value_text,
)
from .table import Column, Row, Table

MOST_COLUMNS = 6
"""Columns of numbers in one float."""
MOST_LINES = 54
"""Lines in one float; a row takes as many as its fullest place."""
_FITTED = (
    r"\providecommand{\fitted}[1]{\sbox0{#1}"
    r"\ifdim\wd0>\linewidth\sbox0{\resizebox{\linewidth}{!}{\usebox0}}\fi"
    r"\ifdim\dimexpr\ht0+\dp0\relax>.72\textheight\sbox0{\resizebox*{!}{.72\textheight}{\usebox0}}\fi\usebox0}"
)
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
    # After the \\ that ends a row, a bracket or a star would be taken for its argument.
    **{character: f"{{{character}}}" for character in "[]*"},
}


def to_latex(table: Table) -> str:
    r"""Table environments that need the packages booktabs and graphicx, and nothing else."""
    parts = list(itertools.product(_row_shares(table.rows), _column_shares(table.columns)))
    return "".join(_float(table, *part, first=number == 0) for number, part in enumerate(parts))


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _column_shares(columns: Sequence[Column]) -> Iterator[list[int]]:
    """The columns of each float: whole data sets as long as they fit, else even shares of one."""
    part: list[int] = []
    for _, members in itertools.groupby(range(len(columns)), key=lambda number: columns[number].dataset):
        found = list(members)
        if part and len(part) + len(found) > MOST_COLUMNS:
            yield part
            part = []
        shares = np.array_split(part + found, -(-len(part + found) // MOST_COLUMNS))
        *full, part = (list(map(int, share)) for share in shares)
        yield from full
    if part:
        yield part


def _row_shares(rows: Sequence[Row]) -> Iterator[list[int]]:
    """The rows of each float."""
    part: list[int] = []
    lines = 0
    for number, row in enumerate(rows):
        height = max((len(_lines(entry)) for entry in row.estimates if entry is not None), default=1)
        if part and lines + height > MOST_LINES:
            yield part
            part, lines = [], 0
        part.append(number)
        lines += height
    if part:
        yield part


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
        rf"\fitted{{\begin{{tabular}}{{{'l' * len(table.row_header)}{'r' * len(columns)}}}",
        r"\toprule",
        *_header(table.row_header, [table.columns[column] for column in columns]),
        r"\midrule",
        *_rows([table.rows[row] for row in rows], columns),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _header(row_header: Sequence[str], columns: Sequence[Column]) -> list[str]:
    blank, groups, rules = [""] * len(row_header), [], []
    start = len(blank) + 1
    for dataset, members in itertools.groupby(columns, key=lambda column: column.dataset):
        stop = start + len(list(members))
        groups.append(rf"\multicolumn{{{stop - start}}}{{c}}{{{escape_latex(dataset)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{stop - 1}}}")
        start = stop
    names = [escape_latex(name) for name in row_header]
    heads = [_stack(map(escape_latex, fold(column.defense, HEADER_WIDTH).split("\n"))) for column in columns]
    return [rf"{' & '.join(blank + groups)} \\", " ".join(rules), rf"{' & '.join(names + heads)} \\"]


def _rows(rows: Sequence[Row], columns: Sequence[int]) -> Iterator[str]:
    labels = [row.labels for row in rows]
    for place, shown in enumerate(shown_labels(labels)):
        if place and labels[place][:-1] != labels[place - 1][:-1]:
            yield r"\addlinespace"
        cells = [_cell(rows[place].estimates[column]) for column in columns]
        yield rf"{' & '.join([*map(escape_latex, shown), *cells])} \\"


def _cell(entry: Entry | None) -> str:
    return escape_latex(BLANK) if entry is None else _stack(_lines(entry))


def _lines(entry: Entry) -> list[str]:
    """The lines of a place, the number first."""
    value = escape_latex(value_text(entry))
    below = (spread_text(entry), paper_text(entry), difference_text(entry))
    return [rf"\textbf{{{value}}}" if is_best(entry) else value, *(escape_latex(text) for text in below if text)]


def _stack(lines: Iterable[str]) -> str:
    """Lines above each other, right-aligned, the first on the level of the row."""
    joined = r"\\".join(filter(None, lines))
    return rf"\stacked{{{joined}}}"
