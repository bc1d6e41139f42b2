"""A table of measurements: the reports' table with texts in its cells, printed and written in their formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from reports.formats.latex import to_latex
from reports.formats.render import to_markdown
from reports.formats.terminal import to_terminal
from reports.tables.engine.base import Finding, Row, Table

COLUMN_HEADER = ("quantity", "measure")
"""The names of a column's two header lines."""


def text_row(labels: Sequence[str], texts: Sequence[str | None]) -> Row:
    """A row of the table; None where nothing was measured."""
    return Row(tuple(labels), tuple(None if text is None else Finding(verdict=text, evidence="") for text in texts))


def show(table: Table) -> None:
    """Print it as wide as the terminal is."""
    console = Console()
    console.print(to_terminal(table, console.width))


def write(table: Table, stem: Path) -> list[Path]:
    """Write `stem`.md and `stem`.tex over those of an earlier run; returns their paths."""
    texts = {stem.with_suffix(".md"): to_markdown(table), stem.with_suffix(".tex"): to_latex(table)}
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8", newline="\n")
    return list(texts)
