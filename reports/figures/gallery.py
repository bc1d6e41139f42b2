"""Draws every registered figure from a collection and writes it to files, with its caption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from harness.errors import UserError
from harness.files import file_name
from harness.files.figures import save_figure, usual_settings
from harness.registry import figures as registered

from ..collect.collection import Collection
from ..collect.labels import base_name
from ..formats.files import replace_file
from ..formats.render import escape_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".png", ".pdf", ".svg", ".md")
MOST_PAGES = 6
"""Of one figure; further ones are drawn when asked for, "severity:page=7"."""


class FigureMaker(Protocol):
    """What `harness.registry.figures` holds: a class, its keyword parameters the user's to set, with these methods."""

    def draw(self, collection: Collection) -> Figure | None:
        """The figure, or None when there is nothing to draw."""

    def caption(self, collection: Collection) -> str:
        """What is shown, and from what it was made."""


class Drawn(NamedTuple):
    """A figure ready to be shown. name: with the parameters that are not at their defaults."""

    name: str
    title: str
    caption: str
    figure: Figure


def draw(collection: Collection, names: Sequence[str] | None = None) -> list[Drawn]:
    """The figures of these names ("severity:page=2" sets a parameter), by default all, that have something to show."""
    with usual_settings():
        asked = registered.names() if names is None else names
        return [drawn for name in asked for drawn in _pages(name, collection)]


def write(drawn: Iterable[Drawn], folder: Path) -> list[Path]:
    """Write each figure as PNG, PDF and SVG, its title and caption as Markdown; a file appears whole or not at all.

    Returns the files' paths. Raises: UserError when the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [path for each in drawn for path in _write(each, folder / file_name(each.name))]
    except OSError as error:
        raise UserError(
            f"the figures cannot be written to {folder}: {error.strerror}. Choose another --out."
        ) from error


def file_names(drawn: Iterable[Drawn]) -> list[str]:
    """What `write` calls the files of these figures."""
    return [f"{file_name(each.name)}{ending}" for each in drawn for ending in ENDINGS]


def _write(drawn: Drawn, path: Path) -> list[Path]:
    image = f"![{escape_markdown(drawn.title)}]({path.name}.png)"
    words = f"## {escape_markdown(drawn.title)}\n\n{image}\n\n{escape_markdown(drawn.caption)}\n"
    return [*save_figure(drawn.figure, path), replace_file(path.with_name(f"{path.name}.md"), words)]


def _pages(name: str, collection: Collection) -> Iterator[Drawn]:
    """The figure, and where it takes `page` and leaves it open, its further pages."""
    for label in dict.fromkeys(registered.canonical(name, page=page) for page in range(1, MOST_PAGES + 1)):
        maker: FigureMaker = registered.create(label)
        figure = maker.draw(collection)
        if figure is None:
            return
        yield Drawn(label, _title(label), maker.caption(collection), figure)


def _title(label: str) -> str:
    return registered.entry(base_name(label)).summary.rstrip(".")
