"""What `list` prints: the names there are, or all about one of them."""

from __future__ import annotations

import inspect
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.errors import unknown_name
from harness.registry import ALL, Entry, Registry, corruptions
from harness.spec import parameters_of, show_value


def print_names(asked: str = "", console: Console | None = None) -> None:
    """Every name with a line on each; of `asked`, a kind's plural, that kind's, and of a name all that it takes.

    Raises: UserError for what is neither.
    """
    console = console or Console()
    kinds = [kind for kind in ALL if asked in ("", kind.plural)]
    for kind in kinds:
        console.print(_table(kind))
    if not asked:
        console.print("More on one of them, with its parameters: python -m harness list NAME", highlight=False)
    if kinds:
        return
    found = [(kind, entry) for kind in ALL for entry in kind.offered() if entry.name == asked]
    if not found:
        known = [name for kind in ALL for name in (kind.plural, *(entry.name for entry in kind.offered()))]
        raise unknown_name("kind or name", asked, set(known))
    console.out("\n\n".join(_about(kind, entry) for kind, entry in found), highlight=False)


def _table(kind: Registry) -> Table:
    table = Table(title=kind.plural, title_justify="left", title_style="bold", show_header=False, box=None)
    for entry in kind.offered():
        table.add_row(entry.name, entry.summary)
    return table


def _about(kind: Registry, entry: Entry) -> str:
    """What its author says of it, and every parameter with its default; a corruption's are set by its severity."""
    parameters = [] if kind is corruptions else parameters_of(entry.factory, kind.provided).items()
    said = f"{kind.kind} {entry.name}\n\n{inspect.getdoc(entry.factory) or ''}".rstrip()
    if not parameters:
        return said
    shown = [f"{name}={_default(parameter.default)}" for name, parameter in parameters]
    return f"{said}\n\nIn full: {entry.name}:{','.join(shown)}"


def _default(value: Any) -> str:
    """As a user would write it; an ellipsis for none."""
    return "…" if value in (inspect.Parameter.empty, None, "", ()) else show_value(value)
