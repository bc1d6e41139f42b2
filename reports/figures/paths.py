"""Images along their inverse scale path: Figures 1 (a), 6 and 7."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.records.exhibits import Exhibit
from harness.registry import figures

from ..collect.collection import Collection
from .image_grid import Tile, draw_grid, picture, spoken

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@figures.register("figure1a")
class Figure1a:
    """The inverse scale space of one image (Figure 1 a).

    row: which image of the exhibit, from 1
    """

    def __init__(self, *, row: int = 1) -> None:
        if row < 1:
            raise UserError(f"row counts from 1, got {row}.")
        self.row = row

    def draw(self, collection: Collection) -> Figure | None:
        """A photograph's path where there is one, a test image's otherwise; None without either."""
        exhibit = self._exhibit(collection)
        if exhibit is None or self.row > len(exhibit.arrays["images"]):
            return None
        return _draw(exhibit, [self.row - 1])

    def caption(self, collection: Collection) -> str:
        """What is shown."""
        exhibit = self._exhibit(collection)
        return "" if exhibit is None else _caption(exhibit)

    def _exhibit(self, collection: Collection) -> Exhibit | None:
        return collection.exhibits.get("photograph_path") or collection.exhibits.get("image_path")


@figures.register("figure6")
class Figure6:
    """Photographs along their inverse scale path (Figures 6 and 7)."""

    def draw(self, collection: Collection) -> Figure | None:
        """A row for each photograph; None without any."""
        exhibit = collection.exhibits.get("photograph_path")
        return None if exhibit is None else _draw(exhibit, range(len(exhibit.arrays["images"])))

    def caption(self, collection: Collection) -> str:
        """What is shown."""
        return _caption(collection.exhibits["photograph_path"])


def _draw(exhibit: Exhibit, rows: Any) -> Figure:
    arrays, about = exhibit.arrays, exhibit.metadata
    tiles = [
        [
            Tile(picture(arrays["images"][row, place]), _note(arrays, row, place))
            for place in range(len(about["levels"]))
        ]
        for row in rows
    ]
    names = [spoken(about["names"][row]) for row in rows]
    return draw_grid(tiles, row_names=names, column_names=[f"level {float(level)}" for level in about["levels"]])


def _note(arrays: dict[str, Any], row: int, place: int) -> str:
    """Iteration and support, or that the image is its own smoothed image, with the highest level it can have."""
    outcome, level = arrays["outcome"][row, place], arrays["level"][row, place]
    if outcome == "unreachable":
        return f"the image itself ({level:.3f})"
    iterations, edges = int(arrays["iterations"][row, place]), int(arrays["edges"][row, place])
    short = "" if outcome == "reached" else f", only {level:.2f}"
    return f"t = {iterations:,}, {edges:,} edges{short}"


def _caption(exhibit: Exhibit) -> str:
    about = exhibit.metadata
    height, width = exhibit.arrays["images"].shape[-2:]
    return (
        "Level: the share of neighbouring pixel pairs that may differ. Below each image: the iteration t at which its "
        f"path reached the level, and the number of edges in its support, of {about['all_edges']:,}. An image with too "
        "few unequal neighbours for a level is shown unchanged, with the level it has. "
        f"ν = {about['nu']:g}, scheme {about['scheme']}, {height}×{width} pixels."
    )
