"""Builds every registered table from recorded cells, shows them and writes them to files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console

from harness.errors import UserError
from harness.files import replacing
from harness.registry import tables as registered

from ..collect.cells import Cells
from ..formats.html import to_page
from ..formats.latex import to_latex
from ..formats.render import to_csv, to_markdown
from ..formats.terminal import to_terminal
from .base import Table

FIRST = "summary"
"""The table that is shown before all others."""
FORMATS = {".md": to_markdown, ".csv": to_csv, ".tex": to_latex, ".html": to_page}


class TableMaker(Protocol):
    """What `harness.registry.tables` holds: a class, its keyword parameters the user's to set, with this method."""

    def build(self, cells: Cells) -> Table | None:
        """The table, or None when the cells it is made from were not run."""


def build(cells: Cells, names: Sequence[str] | None = None) -> list[Table]:
    """The tables of these names ("table4:radius=8" sets a parameter), by default all, that have something to show."""
    made = [_build(name, cells) for name in (sorted(registered.names(), key=_place) if names is None else names)]
    return [table for table in made if table is not None]


def show(tables: Iterable[Table], console: Console) -> None:
    """Print tables to a terminal, in its width."""
    for table in tables:
        console.print(to_terminal(table, console.width))


def write(tables: Iterable[Table], folder: Path) -> list[Path]:
    """Write each table as Markdown, CSV, LaTeX and HTML; a file appears whole or not at all.

    Returns the files' paths. Raises: UserError when the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [replace_file(folder / f"{stem(t.name)}{end}", form(t)) for t in tables for end, form in FORMATS.items()]
    except OSError as error:
        raise UserError(f"the tables cannot be written to {folder}: {error.strerror}. Choose another --out.") from error


def file_names(tables: Iterable[Table]) -> list[str]:
    """What `write` calls the files of these tables."""
    return [f"{stem(table.name)}{end}" for table in tables for end in FORMATS]


def _place(name: str) -> tuple[bool, bool, str]:
    """The summary first, then the paper's tables, then the others."""
    return name != FIRST, not name.startswith("table"), name


def _build(name: str, cells: Cells) -> Table | None:
    maker: TableMaker = registered.create(name)
    table = maker.build(cells)
    # The name as asked for, parameters included: two forms of one table are two files.
    return table and dataclasses.replace(table, name=registered.canonical(name))


def stem(name: str) -> str:
    """What the files of a table or figure of this name are called, before their endings."""
    return re.sub(r"[^\w.=-]+", "-", name)


def replace_file(path: Path, text: str) -> Path:
    """Write a text file, whole or not at all; returns its path. Raises: OSError when it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path
