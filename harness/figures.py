"""Figures on disk: as PNG, PDF and SVG, the same figure giving the same bytes, each file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATELESS = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    ".svg": {"Date": None, "Creator": None},
}
"""By file ending, what says when and by what a file was written, left out."""
SETTINGS: dict[Any, Any] = {
    "pdf.fonttype": 42,  # letters as letters: to be searched, selected and read out
    "svg.fonttype": "none",  # the same, and a third of the size; a viewer without the font takes a narrower one
    "svg.hashsalt": "virolbi",  # names of parts that do not change from one writing to the next
}


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png, .pdf and .svg; returns their paths. Raises: OSError when they cannot be written.

    The figure's layout is settled by it: what is added to the figure later makes no room for itself.
    """
    written = []
    with usual_settings():
        _settle(figure)
        for ending, metadata in DATELESS.items():
            path = stem.with_name(stem.name + ending)
            temporary = path.with_name(f".{path.name}.tmp")
            figure.savefig(temporary, format=ending[1:], dpi=160, metadata=metadata)
            os.replace(temporary, path)
            written.append(path)
    return written


@contextmanager
def usual_settings() -> Iterator[None]:
    """Matplotlib as it is delivered, whatever the user's own settings are: they would change the bytes."""
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()
        rcParams.update(SETTINGS)
        yield


def _settle(figure: Figure) -> None:
    """Lay the figure out once rather than for every file: it takes longer than the writing."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
