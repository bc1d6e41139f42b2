"""Plain training, the baseline every other defense is compared with."""

from __future__ import annotations

from harness.contracts.defense import Defense
from harness.registry import defenses


@defenses.register("vanilla")
class Vanilla(Defense):
    """Empirical risk minimisation on clean images; preprocessing is the run's default."""
