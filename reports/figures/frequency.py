"""What smoothing and training do to spatial frequencies: Figure 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import UserError
from harness.records.exhibits import Exhibit
from harness.registry import figures

from ..collect.collection import Collection
from . import style
from .image_grid import HEAT, Tile, draw_grid, picture, spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FREQUENCY = "periods per image"


@figures.register("figure2a")
class Figure2a:
    """Low and high frequencies of test images (Figure 2 a)."""

    def draw(self, collection: Collection) -> Figure | None:
        """Rows: the image, its low part, its high part; None without the exhibit."""
        exhibit = collection.exhibits.get("frequency_parts")
        if exhibit is None:
            return None
        arrays = exhibit.arrays
        rows = [
            [Tile(picture(image)) for image in arrays["originals"]],
            [Tile(picture(image)) for image in arrays["low"]],
            [Tile(picture(image + 0.5)) for image in arrays["high"]],
        ]
        names = [spoken(name) for name in exhibit.metadata["names"]]
        return draw_grid(rows, row_names=("image", "low", "high"), column_names=names)

    def caption(self, collection: Collection) -> str:
        """What is shown."""
        about = collection.exhibits["frequency_parts"].metadata
        return (
            f"Test images of {about['dataset']} in two parts: spatial frequencies below and from {about['radius']:g} "
            "periods per image on. The high part is shown about a middle gray; what leaves the range is cut off."
        )


@figures.register("figure2b")
class Figure2b:
    """Spectra of the first convolution's feature maps during training (Figure 2 b).

    columns: at most so many epochs, spread evenly
    """

    def __init__(self, *, columns: int = 6) -> None:
        check_columns(columns)
        self.columns = columns

    def draw(self, collection: Collection) -> Figure | None:
        """A row for each defense, a column for each epoch, all on one scale; None without the exhibit."""
        exhibit = collection.exhibits.get("feature_spectra")
        if exhibit is None:
            return None
        spectra, models = exhibit.arrays["spectra"], exhibit.metadata["models"]
        epochs = spread_epochs(models, self.columns)
        names = list(dict.fromkeys(model["name"] for model in models))
        tiles = [[_spectrum(exhibit, name, epoch) for epoch in epochs] for name in names]
        shown = [f"epoch {epoch}" for epoch in epochs]
        figure = draw_grid(tiles, row_names=names, column_names=shown, beside=0.5)
        _add_scale(figure, spectra.min(), spectra.max())
        return figure

    def caption(self, collection: Collection) -> str:
        """What is shown."""
        about = collection.exhibits["feature_spectra"].metadata
        return (
            "Mean of log(1 + |F|) over the feature maps of the first convolution, zero frequency in the middle, over "
            f"{about['images']:,} test images of {about['dataset']}, shown to the networks as they are. "
            "high/low: its mean beyond half the highest frequency over that within. Empty: no checkpoint of that epoch "
            "was kept."
        )


@figures.register("figure2c")
class Figure2c:
    """What smoothing takes away, by frequency (Figure 2 c)."""

    def draw(self, collection: Collection) -> Figure | None:
        """A map for each level on one scale, and the same as curves; None without the exhibit."""
        exhibit = collection.exhibits.get("spectral_difference")
        if exhibit is None:
            return None
        from matplotlib.colors import LogNorm

        difference, levels = exhibit.arrays["difference"], exhibit.metadata["levels"]
        norm = LogNorm(*_range(difference))
        figure = style.new_figure(2.3, style.WIDTH)
        axes = figure.subplots(1, len(levels) + 1, width_ratios=[1] * len(levels) + [1.25])
        for place, values, level in zip(axes, difference, levels, strict=False):
            drawn = _draw_map(place, values, level, norm)
        axes[0].set_ylabel(FREQUENCY)
        _add_log_scale(figure, drawn, list(axes[:-1]))
        _draw_profiles(axes[-1], difference, levels)
        return figure

    def caption(self, collection: Collection) -> str:
        """What is shown."""
        about = collection.exhibits["spectral_difference"].metadata
        return (
            f"E|F(x) − F(x̂)|: the mean over channels and {about['images']:,} test images of {about['dataset']} of the "
            "amplitude of what smoothing to a level takes away, for images in [0,1] and a Fourier transform without "
            "normalisation. White: what smoothing leaves alone, zero frequency in the middle for one. Right: the "
            f"mean over all directions. ν = {about['nu']:g}, scheme {about['scheme']}."
        )


def spread_epochs(models: Sequence[dict[str, Any]], most: int) -> list[int]:
    """The epochs there are checkpoints of, ascending; if more than `most`, first and last and some between."""
    epochs = sorted({model["epoch"] for model in models if model["epoch"] is not None})
    places = np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int)) if len(epochs) > most else None
    return epochs if places is None else [epochs[place] for place in places]


def check_columns(columns: int) -> None:
    """Raises: UserError for none."""
    if columns < 1:
        raise UserError(f"columns must be 1 or more, got {columns}.")


def _spectrum(exhibit: Exhibit, name: str, epoch: int) -> Tile | None:
    spectra, models = exhibit.arrays["spectra"], exhibit.metadata["models"]
    low, high = spectra.min(), spectra.max()
    scaled = (spectra - low) / (high - low or 1.0)
    places = [place for place, one in enumerate(models) if one["name"] == name and one["epoch"] == epoch]
    return Tile(None, f"high/low = {high_to_low(spectra[places[0]]):.2f}", scaled[places[0]]) if places else None


def _add_scale(figure: Figure, low: float, high: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(ScalarMappable(Normalize(low, high), HEAT), ax=figure.axes, shrink=0.8, pad=0.01)
    bar.ax.tick_params(labelsize=style.SMALL)


def _range(difference: np.ndarray) -> tuple[float, float]:
    """The smallest and largest of [L,H,W] above nothing, zero frequency left out: smoothing keeps an image's mean."""
    values = difference[:, _radius(*difference[0].shape) > 0]
    values = values[values > 0]
    return (float(values.min()), float(values.max())) if len(values) else (0.1, 1.0)


def _add_log_scale(figure: Figure, drawn: Any, axes: list[Axes]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ticks = LogLocator(subs=(1, 2, 5))
    bar = figure.colorbar(
        drawn, ax=axes, shrink=0.8, pad=0.02, ticks=ticks, format=FuncFormatter(lambda x, _: f"{x:g}")
    )
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=style.SMALL)


def _draw_map(axes: Axes, values: np.ndarray, level: float, norm: Any) -> Any:
    height, width = values.shape
    reach = (-(width // 2) - 0.5, width - width // 2 - 0.5, -(height // 2) - 0.5, height - height // 2 - 0.5)
    values = np.where(values < norm.vmin, np.nan, values)
    drawn = axes.imshow(values, cmap=HEAT, norm=norm, extent=reach, interpolation="nearest", origin="lower")
    style.dress(axes, title=f"level {level:g}")
    axes.set_xlabel(FREQUENCY, fontsize=style.TEXT, color=style.INK)
    axes.grid(visible=False)
    return drawn


def _draw_profiles(axes: Axes, difference: np.ndarray, levels: Sequence[float]) -> None:
    for place, (values, level) in enumerate(zip(difference, levels, strict=True)):
        frequency, mean = radial_mean(values)
        colour, marker = style.numbered(place + 3)
        axes.plot(frequency[1:], mean[1:], color=colour, marker=marker, markersize=2.5, label=f"level {level:g}")
    axes.set_ylim(bottom=0)
    style.dress(axes, title="mean over directions")
    axes.set_xlabel(FREQUENCY, fontsize=style.TEXT, color=style.INK)
    axes.set_ylabel("E|F(x) − F(x̂)|", fontsize=style.TEXT, color=style.INK)
    axes.legend(frameon=False, fontsize=style.SMALL)


def high_to_low(values: np.ndarray) -> float:
    """The mean of [H,W], zero frequency in the middle, beyond half the highest frequency, over the mean within it."""
    radius = _radius(*values.shape)
    high = radius >= min(values.shape) / 4
    return float(values[high].mean() / values[~high].mean())


def radial_mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of [H,W], zero frequency in the middle, at each whole radius that fits inside."""
    radius = np.rint(_radius(*values.shape)).astype(int)
    inside = np.arange(min(values.shape) // 2 + 1)
    return inside, np.array([values[radius == each].mean() for each in inside])


def _radius(height: int, width: int) -> np.ndarray:
    """[H,W]: the distance from zero frequency, in periods per image."""
    rows, columns = np.arange(height) - height // 2, np.arange(width) - width // 2
    return np.hypot(rows[:, None], columns[None, :])
