"""Figures on disk: as PNG, PDF and SVG, the same figure giving the same bytes, each file whole or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
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
        for ending, print_to in _printers(figure).items():
            path = stem.with_name(stem.name + ending)
            with replacing(path) as temporary:
                print_to(temporary)
            written.append(path)
    return written


def _printers(figure: Figure) -> dict[str, Callable[[Path], Any]]:
    """By file ending, what writes the figure, without saying when or by what.

    They are called by themselves because `Figure.savefig` draws everything twice for each file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    pdf = dict.fromkeys(("CreationDate", "Producer", "Creator"))
    svg = dict.fromkeys(("Date", "Creator"))
    return {
        ".png": lambda path: FigureCanvasAgg(figure).print_png(path, metadata={"Software": None}),
        ".pdf": lambda path: FigureCanvasPdf(figure).print_pdf(path, metadata=pdf),
        ".svg": lambda path: FigureCanvasSVG(figure).print_svg(path, metadata=svg),
    }


@contextmanager
def usual_settings() -> Iterator[None]:
    """Matplotlib as it is delivered, whatever the user's own settings are: they would change the bytes."""
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context(), warnings.catch_warnings():
        # a defense may be named in letters that the font lacks: they are drawn as boxes, and nobody can help it
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        rcdefaults()
        rcParams.update(SETTINGS)
        yield


def _settle(figure: Figure) -> None:
    """Lay the figure out once rather than for every file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine("none")
