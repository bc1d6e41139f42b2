"""A table of measurements, for the terminal and as Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from reports.formats.latex import escape_latex
from reports.formats.render import escape_markdown

BLANK = "–"


class Sheet(NamedTuple):
    """caption: sentences · header: one name a column, the first `labels` of which hold words · rows: what to show."""

    name: str
    title: str
    caption: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 1


def show(sheet: Sheet, console: Console) -> None:
    """Print it."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for place, name in enumerate(sheet.header):
        table.add_column(
            name, justify="left" if place < sheet.labels else "right", no_wrap=place < sheet.labels, overflow="fold"
        )
    for row in sheet.rows:
        table.add_row(*row)
    text = Text(" ".join(sheet.caption), style="dim", overflow="fold")
    console.print(Group(Text(sheet.title, style="bold"), table, text, ""))


def write(sheet: Sheet, folder: Path) -> list[Path]:
    """Put `NAME.md` and `NAME.tex` in a folder, in the place of an earlier run's; returns their paths."""
    written = []
    for ending, text in ((".md", to_markdown(sheet)), (".tex", to_latex(sheet))):
        path = folder / f"{sheet.name}{ending}"
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(path)
    return written


def to_markdown(sheet: Sheet) -> str:
    """A GitHub-flavoured table under its title, the caption below."""
    escape = escape_markdown
    rule = ["---" if place < sheet.labels else "--:" for place in range(len(sheet.header))]
    lines = [list(map(escape, sheet.header)), rule, *(list(map(escape, row)) for row in sheet.rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {escape(sheet.title)}\n\n{table}\n\n{escape(' '.join(sheet.caption))}\n"


def to_latex(sheet: Sheet) -> str:
    """A table environment that needs the booktabs package."""
    escape = escape_latex
    lines = [rf"{' & '.join(map(escape, row))} \\" for row in (sheet.header, *sheet.rows)]
    columns = "l" * sheet.labels + "r" * (len(sheet.header) - sheet.labels)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize",
            rf"\caption{{{escape(sheet.title)}. {escape(' '.join(sheet.caption))}}}",
            rf"\label{{tab:bench-{sheet.name}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def digits(number: float, count: int = 3) -> str:
    """A positive number to so many significant digits, thousands apart.

    >>> digits(0.030412), digits(4.871), digits(1653210.0)
    ('0.0304', '4.87', '1,650,000')
    """
    if number <= 0:
        return "0"
    rounded = float(f"{number:.{count}g}")
    return f"{rounded:,.{max(0, count - 1 - math.floor(math.log10(rounded)))}f}"


def short_time(seconds: float) -> str:
    """A short time in the unit that suits it.

    >>> short_time(2.41e-06), short_time(0.0169), short_time(109.6)
    ('2.41 µs', '16.9 ms', '110 s')
    """
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            return f"{digits(seconds * factor)} {unit}"
    return f"{digits(seconds)} s"
