"""Plain training, the baseline every other defense is compared with."""

from __future__ import annotations

from harness.registry import defenses

from .base import Defense


@defenses.register("vanilla")
class Vanilla(Defense):
    """Empirical risk minimisation on clean images; preprocessing is the run's default."""
