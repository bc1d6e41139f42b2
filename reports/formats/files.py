"""Shows tables in the terminal and writes them to files in every format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from harness.errors import UserError
from harness.files import file_name, replacing

from ..tables.engine.base import Table
from .html import to_page
from .latex import to_latex
from .render import to_csv, to_markdown
from .terminal import to_terminal

FORMATS = {".md": to_markdown, ".csv": to_csv, ".tex": to_latex, ".html": to_page}


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
        return [
            replace_file(folder / f"{file_name(t.name)}{end}", form(t)) for t in tables for end, form in FORMATS.items()
        ]
    except OSError as error:
        raise UserError(f"the tables cannot be written to {folder}: {error.strerror}. Choose another --out.") from error


def file_names(tables: Iterable[Table]) -> list[str]:
    """What `write` calls the files of these tables."""
    return [f"{file_name(table.name)}{end}" for table in tables for end in FORMATS]


def replace_file(path: Path, text: str) -> Path:
    """Write a text file, whole or not at all; returns its path. Raises: OSError when it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return path
