"""What smoothing removes, by frequency: the paper's Figure 2 (c)."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.contracts.dataset import as_float
from harness.explain.base import ExplainContext, Explanation, digest_of_images
from harness.explain.frequency import amplitude
from harness.progress import track
from harness.records.exhibits import Exhibit
from harness.registry import exhibits

from ..method.settings import checked_scheme
from ..preprocessor import ViRoLBI
from ..smoothing import path

BATCH = 256


@exhibits.register("spectral_difference")
class SpectralDifference(Explanation):
    """What smoothing removes, by frequency: E|F(x) − F(x̂)| over test images (Fig. 2 c).

    levels: shares of the edges, ascending.
    nu, scheme: as for `smooth`.
    """

    def __init__(self, *, levels: tuple[float, ...] = (0.6, 0.8), nu: float = 1.0, scheme: str = "paper") -> None:
        self.levels = levels
        self.nu = nu
        self.scheme = scheme

    def sources(self, context: ExplainContext) -> dict[str, Any]:
        """The images."""
        split = context.test_images()
        return {"images": digest_of_images(split.images, split.indices), "smoothing": ViRoLBI.version}

    def compute(self, context: ExplainContext) -> Exhibit:
        """difference [L,H,W] float64, zero frequency in the middle: the mean over images and channels."""
        split = context.test_images()
        total = np.zeros((len(self.levels), *split.images.shape[2:]))
        for start in track(range(0, len(split), BATCH), "spectral difference"):
            total += self._sums(np.asarray(split.images[start : start + BATCH]))
        metadata = {"levels": list(self.levels), "nu": self.nu, "scheme": self.scheme, "images": len(split)}
        return Exhibit(self.name, {"difference": total / len(split)}, {**metadata, "dataset": context.opened.name})

    def _sums(self, images: np.ndarray) -> np.ndarray:
        stages = path(images, levels=self.levels, nu=self.nu, scheme=checked_scheme(self.scheme))
        plain = as_float(images).numpy()
        return np.stack([amplitude(plain - stage.images).mean(1).sum(0) for stage in stages])
