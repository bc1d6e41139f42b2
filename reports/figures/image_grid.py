"""Grids of small pictures: rows and columns with names, a line of text under each picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT = "viridis"
"""Its lightness rises evenly, so that it is read in grey and with any colour vision."""
OVERLAY = 0.65
"""How much of a picture a heat over it hides."""
SIDE = 1.45
"""Inches of a picture at most."""
ROW_NAMES, NOTES, HEAD = 0.16, 0.17, 0.2
"""Inches that a line of text takes beside the rows, below each picture and above the columns."""

LONG_NAME, LONG_ROW = 26, 17
"""Letters that stand beside the largest picture, and beside a small one."""


class Tile(NamedTuple):
    """One picture."""

    image: np.ndarray | None
    """[H,W,3] or [H,W] in [0,1]."""
    note: str = ""
    """The text below."""
    heat: np.ndarray | None = None
    """[H,W] in [0,1], drawn over the image or alone."""
    strong: bool = False
    """Whether the note stands out, as that of a wrong prediction."""


def draw_grid(
    rows: Sequence[Sequence[Tile | None]],
    *,
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    beside: float = 0.0,
) -> Figure:
    """Pictures in rows of one length; None leaves a place empty. beside: inches kept free at the right."""
    noted = any(tile is not None and tile.note for row in rows for tile in row)
    row_names = [broken(name) for name in row_names]
    lines = max((1 + name.count("\n") for name in row_names if name), default=0)
    other = ROW_NAMES * lines + beside
    side = min(SIDE, (style.WIDTH - other) / len(rows[0]))
    figure = style.new_figure(len(rows) * (side + (NOTES if noted else 0)) + HEAD, side * len(rows[0]) + other)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for places, tiles in zip(axes, rows, strict=True):
        for place, tile in zip(places, tiles, strict=True):
            _draw(place, tile)
    for place, name in zip(axes[0], column_names, strict=False):
        place.set_title(style.literal(name), fontsize=style.TEXT, color=style.INK, pad=3)
    for place, name in zip(axes[:, 0], row_names, strict=False):
        place.set_ylabel(style.literal(name), fontsize=style.TEXT, color=style.INK, labelpad=3)
    return figure


def _draw(axes: Axes, tile: Tile | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if tile is None:
        return
    if tile.image is not None:
        shown = tile.image if tile.heat is None else gray(tile.image)
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if tile.heat is not None:
        alpha = 1.0 if tile.image is None else OVERLAY
        axes.imshow(tile.heat, cmap=HEAT, vmin=0, vmax=1, alpha=alpha, interpolation="nearest")
    weight = "bold" if tile.strong else "normal"
    axes.set_xlabel(style.literal(tile.note), fontsize=style.SMALL, color=style.INK, labelpad=2, fontweight=weight)


def picture(image: np.ndarray) -> np.ndarray:
    """An image [C,H,W], uint8 or in [0,1], as matplotlib wants it: [H,W,3] in [0,1], or [H,W] where it is gray."""
    scaled = image / 255 if image.dtype == np.uint8 else np.clip(image, 0, 1)
    return scaled[0] if len(scaled) == 1 else scaled.transpose(1, 2, 0)


def gray(image: np.ndarray) -> np.ndarray:
    """The lightness of a picture, [H,W], so that its colours do not mix with those of a heat."""
    return image if image.ndim == 2 else image @ np.array([0.299, 0.587, 0.114])


def as_heat(values: np.ndarray, *, largest: float = 1.0) -> np.ndarray:
    """What is positive, in [0,1]: 1 from the quantile `largest` of it on; zeros where nothing is."""
    positive = np.clip(values, 0, None)
    top = np.quantile(positive, largest)
    return np.clip(positive / top, 0, 1) if top > 0 else positive


def spoken(name: str) -> str:
    """The name of a class or a picture file for readers, shortened: "n02077923_sea_lion" is a sea lion."""
    plain = re.sub(r"^n\d{8}_", "", name).replace("_", " ")
    return plain if len(plain) <= LONG_NAME else f"{plain[: LONG_NAME - 1]}…"


def broken(name: str) -> str:
    """A name too long to stand beside a picture, in lines: broken behind its colons and commas."""
    return name if len(name) <= LONG_ROW else re.sub(r"([:,]) ?", r"\1\n", name)
