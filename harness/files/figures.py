"""Writes figures as PNG, PDF and SVG: the same figure gives the same bytes, and each file is whole or absent."""

from __future__ import annotations

import io
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
    "pdf.fonttype": 42,  # text as text, which can be searched, selected and read aloud
    "svg.fonttype": "none",  # the same, at a third of the size; a viewer without the font takes a narrower one
    "svg.hashsalt": "virolbi",  # fixed names of the SVG's parts
}


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png, .pdf and .svg; returns their paths. Raises: OSError when they cannot be written.

    The layout is fixed from then on: nothing makes room for what is added to the figure later.
    """
    written = []
    with usual_settings():
        _fix_layout(figure)
        for ending, print_to in _printers(figure).items():
            path = stem.with_name(stem.name + ending)
            stream = io.BytesIO()
            print_to(stream)
            with replacing(path) as temporary:
                temporary.write_bytes(stream.getvalue())
            written.append(path)
    return written


def _printers(figure: Figure) -> dict[str, Callable[[io.BytesIO], Any]]:
    """By file ending, the function that writes the figure to a stream, without a date or a program's name.

    `Figure.savefig` would draw everything twice for each file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    pdf = dict.fromkeys(("CreationDate", "Producer", "Creator"))
    svg = dict.fromkeys(("Date", "Creator"))
    return {
        ".png": lambda stream: FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None}),
        ".pdf": lambda stream: FigureCanvasPdf(figure).print_pdf(stream, metadata=pdf),
        ".svg": lambda stream: FigureCanvasSVG(figure).print_svg(stream, metadata=svg),
    }


@contextmanager
def usual_settings() -> Iterator[None]:
    """Matplotlib's own defaults: a user's settings would change the bytes."""
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context(), warnings.catch_warnings():
        # A defense's name may hold letters that the font lacks; they are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        rcdefaults()
        rcParams.update(SETTINGS)
        yield


def _fix_layout(figure: Figure) -> None:
    """Lay the figure out once instead of for every file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine("none")
