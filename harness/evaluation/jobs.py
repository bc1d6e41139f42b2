"""Jobs: one condition each, on the models that share its images."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from harness.models.defended import DefendedModel
from harness.records.schema import NO_PREPROCESS
from harness.suites.base import Suite, SuiteContext
from harness.types import Condition, Split


class Job(NamedTuple):
    """One condition, on the models that share its images."""

    suite: Suite
    condition: Condition
    context: SuiteContext
    models: list[DefendedModel]
    attacked: DefendedModel | None = None
    """The model that the examples are made on; None where no model is attacked."""

    @property
    def transfer_source(self) -> DefendedModel | None:
        """The model that is attacked in place of those that are scored."""
        return self.attacked if self.condition.threat == "transfer" else None

    @property
    def attacked_through(self) -> str:
        """The preprocessing that the attacker saw in front of the attacked model."""
        adaptive = self.attacked is not None and self.condition.threat == "adaptive"
        return self.attacked.preprocessor.label if self.attacked is not None and adaptive else NO_PREPROCESS


def data_digest(split: Split) -> str:
    """SHA-256 of the data set and of which of its images are taken."""
    return hashlib.sha256(split.digest.encode() + split.indices.astype("<i8").tobytes()).hexdigest()
