"""Puts the page together: one file, nothing fetched, only our own style and script allowed to act in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from harness.errors import UserError

from ..collect.collection import Collection
from ..formats.files import replace_file
from ..tables.engine.base import Table
from .data import page_data
from .sections import Links, Picture, figures_html, files_html, notice_html, problems_html, tables_html

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("dom", "stats", "state", "cells", "board", "charts", "defense", "compare", "main")
"""The files of the script, in the order in which they are joined."""
PAGE_BYTES = 2_900_000
"""What the page may take; figures beyond it are linked to."""


def build_page(
    collection: Collection, *, tables: Sequence[Table], figures: Sequence[Picture] = (), links: Links | None = None
) -> str:
    """The report as one HTML file.

    figures: (name, title, caption, PNG bytes); put in, in their order, as long as the page stays under `PAGE_BYTES` ·
    links: by the name of a table or figure, or any heading, the paths of files relative to the page.
    """
    links = links or {}
    style, script = _asset("page.css"), "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    parts = {
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "data": script_json(page_data(collection, tables)),
        "about": _about(collection),
        "notice": notice_html(collection),
        "problems": problems_html(collection),
        "tables": tables_html(tables, links),
        "files": files_html(links, {table.name for table in tables} | {figure[0] for figure in figures}),
    }
    left = PAGE_BYTES - sum(len(part.encode()) for part in parts.values())
    return Template(_asset("page.html")).substitute(parts, figures=figures_html(figures, links, left))


def write_page(
    collection: Collection,
    path: Path,
    *,
    tables: Sequence[Table],
    figures: Sequence[Picture] = (),
    links: Links | None = None,
) -> Path:
    """Write the page, whole or not at all. Raises: UserError when it cannot be written."""
    text = build_page(collection, tables=tables, figures=figures, links=links)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text)
    except OSError as error:
        raise UserError(f"the page {path} cannot be written: {error.strerror}. Choose another --out.") from error
    return path


def script_json(values: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element: no tag, comment or line separator can be read in it."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A content security policy under which nothing is loaded, and of style and script only ours is used."""
    return (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _about(collection: Collection) -> str:
    cells = list(collection.cells)
    parts = [
        _listed({cell.dataset for cell in cells}, "data set"),
        _listed({cell.backbone for cell in cells}, "backbone"),
        _listed({cell.defense for cell in cells}, "defense", name=False),
        _listed({cell.identity for cell in cells}, "cell", name=False),
        _listed(set(collection.runs), "run", name=False),
    ]
    return escape(" · ".join(parts))


def _listed(names: Container[str], what: str, *, name: bool = True) -> str:
    """The only one's name, else how many there are."""
    if name and len(names) == 1:
        return next(iter(names))
    return f"{len(names):,} {what}{'' if len(names) == 1 else 's'}"
