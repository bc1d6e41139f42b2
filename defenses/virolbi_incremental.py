"""Fine-tuning a trained network at rising levels of smoothing."""

from __future__ import annotations

import dataclasses

import numpy as np

from harness.cache import ArrayCache
from harness.errors import UserError
from harness.registry import defenses
from harness.types import Split

from .virolbi_iterative import ViRoLBIIterative


@defenses.register("virolbi_incremental")
@dataclasses.dataclass(kw_only=True)
class ViRoLBIIncremental(ViRoLBIIterative):
    """Train on the plain images first, then fine-tune at a rising sequence of ViRoLBI levels.

    The paper names this procedure without defining it; this is the harness's reading of the name.

    pretrain: the share of the epochs on plain images, under 1.
    The other parameters are those of `virolbi_iterative`.
    """

    pretrain: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.pretrain < 1:
            raise UserError(f"pretrain must be a share of the epochs from 0 to under 1, got {self.pretrain!r}.")

    def training_images(self, split: Split, *, epoch: int, epochs: int, cache: ArrayCache) -> np.ndarray:
        """The plain images at first, then the split at the level the schedule has reached."""
        plain = self._plain_epochs(epochs)
        if epoch < plain:
            return split.images
        return super().training_images(split, epoch=epoch - plain, epochs=epochs - plain, cache=cache)

    def curves(self, *, epoch: int, epochs: int) -> dict[str, float]:
        """The level of the images, once they are smoothed."""
        plain = self._plain_epochs(epochs)
        return {} if epoch < plain else super().curves(epoch=epoch - plain, epochs=epochs - plain)

    def keep(self, *, epoch: int, epochs: int) -> str | None:
        """`plain` at the last epoch on plain images, then `level=0.3` and so on at the last epoch of each level."""
        plain = self._plain_epochs(epochs)
        if epoch < plain:
            return "plain" if epoch + 1 == plain else None
        return super().keep(epoch=epoch - plain, epochs=epochs - plain)

    def _plain_epochs(self, epochs: int) -> int:
        return int(self.pretrain * epochs)
