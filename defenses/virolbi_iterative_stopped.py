"""Iterative training that stops at the level of the test images."""

from __future__ import annotations

import dataclasses

from harness.registry import defenses

from .virolbi_iterative import ViRoLBIIterative


@defenses.register("virolbi_iterative_stopped")
@dataclasses.dataclass(kw_only=True)
class ViRoLBIIterativeStopped(ViRoLBIIterative):
    """Iterative training whose levels rise to the test level and end there (section 4 of the paper).

    The levels go from half the test level, which section 4 leaves open, to it: 0.3 to 0.6, on large images 0.15 to 0.3.
    The learning rate comes down over the whole of it, so that the network at the test level is annealed.

    nu, kappa, scheme, steps, level: as for `virolbi_iterative`.
    """

    start: float = dataclasses.field(init=False, repr=False)
    end: float = dataclasses.field(init=False, repr=False)
    steps: int = 4

    def __post_init__(self) -> None:
        self.start, self.end = self.level / 2, self.level
        super().__post_init__()
