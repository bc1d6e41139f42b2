"""The command `list`: every name, or the description of one."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands.options import FILE, load_plugins
from harness.errors import UserError, did_you_mean
from harness.registry import ALL, Entry, Registry, commands, corruptions
from harness.spec import parameters_of, show_value

if TYPE_CHECKING:
    from rich.table import Table

OPTIONS = {
    "defenses": "--defense",
    "preprocessors": "--preprocess",
    "suites": "--suite",
    "datasets": "--dataset",
    "backbones": "--backbone",
    "attacks": "--attacks",
    "corruptions": "--corruptions",
    "tables": "report --table, --tables",
    "figures": "report --figure",
    "exhibits": "explain; the figures draw them",
}
"""How the names of each kind are asked for, by the kind's plural."""


@commands.register("list")
@click.command()
@click.argument("what", metavar="[KIND|NAME]", default="")
@click.option("--plugin", type=FILE, multiple=True, help="A Python file that registers further names.")
def list_(what: str, plugin: tuple[Path, ...]) -> int:
    """Show every name, the names of one KIND, or what one NAME does and its parameters.

    Kinds: defenses, preprocessors, suites, datasets, backbones, attacks, corruptions, tables, figures, exhibits.
    """
    load_plugins(plugin)
    print_names(what)
    return 0


def print_names(asked: str = "") -> None:
    """Print every name with a line on each, those of one kind for its plural, the description of a single name.

    Raises: UserError for a text that is neither a kind nor a name.
    """
    from rich.console import Console

    console = Console()
    name = asked.partition(":")[0]
    if described := [_describe(kind, entry) for kind in ALL for entry in kind.offered() if entry.name == name]:
        console.out("\n\n".join(described), highlight=False)
        return
    kinds = [kind for kind in ALL if asked in ("", kind.plural)]
    if not kinds:
        raise _unknown(asked)
    for kind in kinds:
        console.print(_table(kind))
    console.print("One of them with its parameters: `list NAME`. One kind alone: `list KIND`.", highlight=False)


def _unknown(asked: str) -> UserError:
    hint = did_you_mean(asked, {entry.name for kind in ALL for entry in kind.offered()})
    kinds = ", ".join(kind.plural for kind in ALL)
    return UserError(f"unknown kind or name {asked!r}.{hint} Kinds: {kinds}. Without one, `list` shows every name.")


def _table(kind: Registry) -> Table:
    from rich.table import Table

    title = f"{kind.plural} ({OPTIONS.get(kind.plural, f'list {kind.plural}')})"
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
    for entry in kind.offered():
        table.add_row(entry.name, entry.summary)
    return table


def _describe(kind: Registry, entry: Entry) -> str:
    """Its docstring and every parameter with its default; the severity sets those of a corruption."""
    parameters = {} if kind is corruptions else parameters_of(entry.factory, kind.provided)
    needed = [f"{name}={name.upper()}" for name, each in parameters.items() if each.default is inspect.Parameter.empty]
    defaults = {name: each.default for name, each in parameters.items() if each.default is not inspect.Parameter.empty}
    unset = [name for name, default in defaults.items() if default in (None, "", ())]
    in_full = needed + [f"{name}={show_value(default)}" for name, default in defaults.items() if name not in unset]
    lines = [f"{kind.kind} {entry.name}", entry.doc]
    if in_full:
        lines.append(f"In full: {entry.name}:{','.join(in_full)}")
    if unset:
        lines.append(f"{'Further parameters' if in_full else 'Parameters'}, unset: {', '.join(unset)}")
    return "\n\n".join(filter(None, lines))
