"""What a record holds, declared once: the run writes these objects, reports read them, columns are their fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.cache import digest_of
from harness.types import Purpose

SCHEMA_VERSION = 2
"""Of the records file. Older and newer files are refused."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of a cell before it is evaluated. Text that does not apply is "", a number None."""

    dataset: str
    """As tables show it."""
    family: str = ""
    """The paper's data set it belongs to, "cifar10" for example."""
    data: str = ""
    """Digest of the test images taken."""
    backbone: str
    defense: str
    """With its parameters; for a kept checkpoint with its tag, "virolbi_iterative@level=0.6"."""
    seed: int
    weights: str = ""
    """Digest of the network's weights."""
    preset: str = ""
    epochs: int | None = None
    train_images: int | None = None
    amp: bool = False
    altered: bool = False
    """Whether the training was other than its preset's."""
    suite: str
    """With its parameters."""
    purpose: Purpose = "score"
    """`diagnostic`: it checks an attack and is no score of the model."""
    condition: str
    severity: int | None = None
    source: str = ""
    """Of corrupted images: "official" or "generated"."""
    threat: str = ""
    """What the attacker knows: "bare", "transfer" or "adaptive"."""
    attack: str = ""
    """With its parameters."""
    attack_parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """All of the attack's parameters, defaults included."""
    stage: str = ""
    """Of an attack in stages, each of which goes on from what the ones before it fooled."""
    stage_index: int | None = None
    """The stage's place, from 0."""
    stage_count: int | None = None
    norm: str = ""
    epsilon: float | None = None
    epsilon_space: str = ""
    gradient: str = ""
    """How an adaptive attacker got through the preprocessing: "exact", "bpda" or another surrogate's name."""
    usual_gradient: bool = True
    """Whether that is the preprocessor's usual one."""
    draws: int = 1
    """Gradients averaged per step."""
    transfer_from: str = ""
    """The defense that the examples were made on."""
    preprocess: str
    """What was done to the images before the network, "none" for nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell to be evaluated. spec: plain JSON values, everything that can change its numbers."""

    spec: Mapping[str, Any]
    description: Description

    @property
    def identity(self) -> str:
        """SHA-256 of the specification."""
        return digest_of(self.spec)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Details:
    """What else an evaluation found."""

    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """By kind of work: perturb, preprocess, predict."""
    outcomes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """What preprocessing came to: how many images per outcome, and iterations in all."""
    flags: tuple[str, ...] = ()
    """What an attack warned of."""
    measures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Numbers that an attack measured, means over the images."""
    trained: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """How the network was trained, as its checkpoint says; empty where that is not known."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record(Description):
    """A cell that is evaluated: its description, its outcome, and what it was computed with."""

    identity: str
    n_images: int
    n_correct: int
    seconds: float
    recorded_at: str
    """ISO 8601, UTC."""
    used: int = 0
    """When a run last used it, in nanoseconds since 1970."""
    device: str = ""
    environment: str = ""
    """Digest of the versions and hardware it was computed with."""
    predicted: str = ""
    """Digest of the predictions."""
    details: Details = Details()
    outcome_bits: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.uint8), repr=False, compare=False
    )
    """Which images were right, in the order of their indices, eight to a byte as `np.packbits` has them."""

    def correct(self) -> np.ndarray:
        """Which images were classified correctly: [N] bool, in the order of their indices."""
        return np.unpackbits(self.outcome_bits, count=self.n_images).view(bool)
