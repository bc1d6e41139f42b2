"""Where networks look: Figures 1 (b), 3 and 5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.records.exhibits import Exhibit
from harness.registry import figures

from ..collect.collection import Collection
from ..tables.engine.layout import defense_order
from .frequency import check_columns, spread_epochs
from .image_grid import Tile, as_heat, draw_grid, picture, spoken

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 0.99
"""The quantile of a relevance map from which on it is brightest: single pixels stand out too far for a scale."""


class _Attributions:
    """defense: whose network, by default a page each · samples: images shown · page: from 1 on, vanilla's first."""

    exhibit: str
    largest = 1.0

    def __init__(self, *, defense: str | None = None, samples: int = 3, page: int = 1) -> None:
        _check_samples(samples)
        self.defense = defense
        self.samples = samples
        self.page = page

    def draw(self, collection: Collection) -> Figure | None:
        """For each image two columns, as it is and explained; a row for each variant.

        None without the exhibit or such a page.
        """
        exhibit = collection.exhibits.get(self.exhibit)
        model = None if exhibit is None else self._place(exhibit)
        if exhibit is None or model is None:
            return None
        shown = range(min(self.samples, len(exhibit.metadata["names"])))
        variants = range(len(exhibit.metadata["variants"]))
        rows = [[tile for one in shown for tile in self._pair(exhibit, model, variant, one)] for variant in variants]
        names = [name for one in shown for name in (spoken(exhibit.metadata["names"][one]), "")]
        return draw_grid(rows, row_names=exhibit.metadata["variants"], column_names=names)

    def caption(self, collection: Collection) -> str:
        """What is shown; "" without a figure."""
        exhibit = collection.exhibits.get(self.exhibit)
        place = None if exhibit is None else self._place(exhibit)
        if exhibit is None or place is None:
            return ""
        model = exhibit.metadata["models"][place]
        return f"{_method(model)} {_caption(exhibit.metadata)} Network: {model['defense']}, {model['backbone']}."

    def _place(self, exhibit: Exhibit) -> int | None:
        """The first model of this page's defense, in the tables' order; None where there is none."""
        names = [model["defense"] for model in exhibit.metadata["models"]]
        shown = [name for name in sorted(set(names), key=defense_order) if self.defense in (None, name)]
        return names.index(shown[self.page - 1]) if 1 <= self.page <= len(shown) else None

    def _pair(self, exhibit: Exhibit, model: int, variant: int, sample: int) -> tuple[Tile, Tile]:
        image = picture(exhibit.arrays["images"][variant, sample])
        heat = as_heat(exhibit.arrays["maps"][model, variant, sample], largest=self.largest)
        answer, wrong = _answer(exhibit, model, variant, sample)
        return Tile(image), Tile(image, answer, heat, strong=wrong)


@figures.register("figure1b")
class Figure1b(_Attributions):
    """Grad-CAM of images, their low frequencies and their large scales (Figure 1 b)."""

    exhibit = "grad_cam"


@figures.register("figure3")
class Figure3(_Attributions):
    """Relevance of pixels in original, blurred and smoothed images (Figure 3)."""

    exhibit = "relevance"
    largest = LARGEST


@figures.register("figure5")
class Figure5:
    """Grad-CAM during training (Figure 5).

    samples: images shown · columns: at most so many epochs, spread evenly
    """

    def __init__(self, *, samples: int = 2, columns: int = 6) -> None:
        _check_samples(samples)
        check_columns(columns)
        self.samples = samples
        self.columns = columns

    def draw(self, collection: Collection) -> Figure | None:
        """For each image a row per defense, a column per epoch; None without the exhibit."""
        exhibit = collection.exhibits.get("grad_cam_training")
        if exhibit is None:
            return None
        models = exhibit.metadata["models"]
        epochs = spread_epochs(models, self.columns)
        names = list(dict.fromkeys(model["name"] for model in models))
        shown = range(min(self.samples, len(exhibit.metadata["names"])))
        rows = [_row(exhibit, name, epochs, sample, first=name == names[0]) for sample in shown for name in names]
        columns = ["", *(f"epoch {epoch}" for epoch in epochs)]
        return draw_grid(rows, row_names=names * len(shown), column_names=columns)

    def caption(self, collection: Collection) -> str:
        """What is shown."""
        about = collection.exhibits["grad_cam_training"].metadata
        return f"{_method(about['models'][0])} {_caption(about)} Empty: no checkpoint of that epoch was kept."


def _row(exhibit: Exhibit, name: str, epochs: Sequence[int], sample: int, *, first: bool) -> list[Tile | None]:
    image = picture(exhibit.arrays["images"][0, sample])
    start = Tile(image, spoken(exhibit.metadata["names"][sample])) if first else None
    return [start, *(_at_epoch(exhibit, name, epoch, sample) for epoch in epochs)]


def _at_epoch(exhibit: Exhibit, name: str, epoch: int, sample: int) -> Tile | None:
    models = exhibit.metadata["models"]
    places = [place for place, one in enumerate(models) if one["name"] == name and one["epoch"] == epoch]
    if not places:
        return None
    answer, wrong = _answer(exhibit, places[0], 0, sample)
    image = picture(exhibit.arrays["images"][0, sample])
    return Tile(image, answer, as_heat(exhibit.arrays["maps"][places[0], 0, sample]), strong=wrong)


def _answer(exhibit: Exhibit, model: int, variant: int, sample: int) -> tuple[str, bool]:
    """What the network takes the image for, and whether that is wrong."""
    answer = exhibit.metadata["classes"][int(exhibit.arrays["predicted"][model, variant, sample])]
    wrong = answer != exhibit.metadata["names"][sample]
    return f"{'✗' if wrong else '✓'} {spoken(answer)}", wrong


def _method(model: dict[str, Any]) -> str:
    sentences = {
        "Grad-CAM": "Grad-CAM at the last feature maps, scaled up, each map to its largest value",
        "LRP": "Relevance by LRP (ε rule, z⁺ rule for convolutions, flat rule for the first), negative relevance as "
        "none, brightest from each map's 99th percentile. A regular grid in it is not the image's: 1×1 shortcuts of "
        "stride 2 look at every other pixel only",
        "integrated gradients": "Integrated gradients from black, in place of LRP, which has no sound rules for this "
        "network; negative ones as none, brightest from each map's 99th percentile",
    }
    return f"{sentences[model['method']]}."


def _caption(metadata: dict[str, Any]) -> str:
    return (
        f"Explained: the logit of the true class; brighter is more. Below: the predicted class, ✗ where it is wrong. "
        f"Test images of {metadata['dataset']}."
    )


def _check_samples(samples: int) -> None:
    if samples < 1:
        raise UserError(f"samples must be 1 or more, got {samples}.")
