"""Training on images of growing detail: network and smoothing path advance in turn (Eq. 9)."""

from __future__ import annotations

import dataclasses

import numpy as np

from harness.cache import ArrayCache
from harness.contracts.defense import Defense
from harness.registry import defenses
from harness.types import Split

from .virolbi.training import Schedule, check_parameters, preprocessor_label, smoothed_images


@defenses.register("virolbi_iterative")
@dataclasses.dataclass(kw_only=True)
class ViRoLBIIterative(Defense):
    """Train on images whose ViRoLBI level rises from epoch to epoch, 0.3 to 0.8 (the paper's iterative procedure).

    Each image follows its own path; u, z and γ continue from level to level. All levels are computed in one run and
    kept on disk. What is scored is the network after the last level, `end`. The paper trains to 0.8 in its Appendix C
    and stops at the test level in its section 4: that is `virolbi_iterative_stopped`.

    The network at the end of each level is kept as a checkpoint. The learning rate comes down over the whole training:
    all of these but the last were kept before it had, and are worse than a training that ends at their level.

    nu, kappa, scheme: as for `smooth`.
    start, end, steps: the levels of training, evenly spaced; a larger `end` ends nearer to plain training.
    level: the level of test images.
    """

    nu: float = 1.0
    start: float = 0.3
    end: float = 0.8
    steps: int = 6
    level: float = 0.6
    kappa: float = 5.0
    scheme: str = "paper"

    def __post_init__(self) -> None:
        check_parameters(nu=self.nu, level=self.level, kappa=self.kappa, scheme=self.scheme)
        self.schedule = Schedule(self.start, self.end, self.steps)

    def training_images(self, split: Split, *, epoch: int, epochs: int, cache: ArrayCache) -> np.ndarray:
        """The split at the level the schedule has reached."""
        levels, position = self.schedule.levels, self.schedule.position(epoch, epochs)
        stages = smoothed_images(split, levels, nu=self.nu, kappa=self.kappa, scheme=self.scheme, cache=cache)
        return stages[position]

    def curves(self, *, epoch: int, epochs: int) -> dict[str, float]:
        """The level of the images."""
        return {"level": self.schedule.levels[self.schedule.position(epoch, epochs)]}

    def keep(self, *, epoch: int, epochs: int) -> str | None:
        """`level=0.3` and so on, at the last epoch of each level."""
        return self.schedule.tag(epoch, epochs)

    def preprocess(self, default: str) -> str:
        """ViRoLBI at the test level, with the ν of the training."""
        return preprocessor_label(nu=self.nu, level=self.level, kappa=self.kappa, scheme=self.scheme)
