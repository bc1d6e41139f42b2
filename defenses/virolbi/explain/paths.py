"""Images along their inverse scale path: the paper's Figures 1 (a), 6 and 7."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UserError
from harness.explain.base import ExplainContext, Explanation, as_bytes, digest_of_images
from harness.records.exhibits import Exhibit
from harness.registry import exhibits

from ..method.settings import checked_scheme, edge_count
from ..preprocessor import ViRoLBI
from ..smoothing import path

PAPER_LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)


class ImagesAlongPath(Explanation):
    """Images at several levels of their paths.

    levels: shares of the edges, ascending.
    count: how many images.
    nu, scheme: as for `smooth`.
    """

    def __init__(
        self, *, levels: tuple[float, ...] = PAPER_LEVELS, count: int = 4, nu: float = 1.0, scheme: str = "paper"
    ) -> None:
        if count < 1:
            raise UserError(f"count must be 1 or more images, got {count}.")
        self.levels = levels
        self.count = count
        self.nu = nu
        self.scheme = scheme

    def images(self, context: ExplainContext) -> tuple[list[str], np.ndarray]:
        """Names and images [N,C,H,W] uint8. Raises: UserError where there are none."""
        raise NotImplementedError

    def sources(self, context: ExplainContext) -> dict[str, Any]:
        """The images and their names."""
        names, images = self.images(context)
        return {"names": names, "images": digest_of_images(images), "smoothing": ViRoLBI.version}

    def compute(self, context: ExplainContext) -> Exhibit:
        """The smoothed images [N,L,C,H,W] uint8; level, iterations, edges and outcome of each [N,L]."""
        names, images = self.images(context)
        height, width = images.shape[2:]
        edges = edge_count(height, width)
        stages = path(images, levels=self.levels, nu=self.nu, scheme=checked_scheme(self.scheme))
        level = np.stack([stage.level for stage in stages], 1)
        arrays = {
            "originals": images,
            "images": np.stack([as_bytes(stage.images) for stage in stages], 1),
            "level": level,
            "iterations": np.stack([stage.iterations for stage in stages], 1),
            "edges": np.rint(level * edges).astype(np.int64),
            "outcome": np.stack([stage.outcome for stage in stages], 1),
        }
        options = {"levels": list(self.levels), "nu": self.nu, "scheme": self.scheme}
        return Exhibit(self.name, arrays, {"names": names, **options, "all_edges": edges})


@exhibits.register("image_path")
class ImagePath(ImagesAlongPath):
    """Test images at rising levels of their path (Fig. 1 a)."""

    def images(self, context: ExplainContext) -> tuple[list[str], np.ndarray]:
        """One test image of each of several classes."""
        samples = context.samples(self.count)
        return context.class_names(samples.labels), samples.images


@exhibits.register("photograph_path")
class PhotographPath(ImagesAlongPath):
    """Photographs at rising levels of their path (Fig. 6 and 7)."""

    def __init__(
        self,
        *,
        size: int = 224,
        levels: tuple[float, ...] = PAPER_LEVELS,
        count: int = 4,
        nu: float = 1.0,
        scheme: str = "paper",
    ) -> None:
        super().__init__(levels=levels, count=count, nu=nu, scheme=scheme)
        if size < 2:
            raise UserError(f"size must be 2 pixels or more, got {size}.")
        self.size = size

    def images(self, context: ExplainContext) -> tuple[list[str], np.ndarray]:
        """Evenly spread ones of the photographs."""
        return context.pictures(self.count, self.size)
