"""Figures on disk: as PNG and PDF, the same figure giving the same bytes, each file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATELESS = {".png": {"Software": None}, ".pdf": {"CreationDate": None, "Producer": None, "Creator": None}}
"""By file ending, what says when and by what a file was written, left out."""


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.pdf; returns their paths. Raises: OSError when they cannot be written."""
    from matplotlib import rc_context

    written = []
    for ending, metadata in DATELESS.items():
        path = stem.with_name(stem.name + ending)
        temporary = path.with_name(f".{path.name}.tmp")
        with rc_context({"pdf.fonttype": 42}):  # letters as letters
            figure.savefig(temporary, format=ending[1:], dpi=160, metadata=metadata)
        os.replace(temporary, path)
        written.append(path)
    return written
