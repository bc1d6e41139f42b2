"""What a record holds, declared once: the run writes these objects, reports read them, columns are their fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.cache import digest_of
from harness.errors import HarnessError
from harness.types import Purpose

SCHEMA_VERSION = 2
"""Of the records file. Older and newer files are refused."""


NO_PREPROCESS = "none"
"""What `preprocess` says of images that went to the network as they were."""


def _mapping() -> Any:
    """A field that holds a mapping: empty by default, and no part of the hash."""
    return dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What a cell is: known before it is evaluated.

    Fields without a default are always set. Others are "" or None where they do not apply.
    """

    dataset: str
    """As tables show it."""
    family: str = ""
    """The paper's data set it belongs to, "cifar10" for example."""
    data: str = ""
    """Digest of the test images taken."""
    backbone: str
    defense: str
    """With its parameters; for a kept checkpoint with its tag, "virolbi_iterative@level=0.6"."""
    defense_parameters: Mapping[str, Any] = _mapping()
    """All of the defense's parameters, defaults included."""
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
    """Of corrupted images: "official", or "generated", then with what was done afterwards, if anything."""
    threat: str = ""
    """What the attacker knows: "bare", "transfer" or "adaptive"."""
    attack: str = ""
    """With its parameters."""
    attack_parameters: Mapping[str, Any] = _mapping()
    """All of the attack's parameters, defaults included."""
    counts_as: str = ""
    """The name under which a worst case counts this attack.

    Forms of one attack that suit a model, as AutoAttack's do, share one.
    """
    stage: str = ""
    """Of an attack in stages; each attacks only the images that those before it did not fool."""
    stage_index: int | None = None
    """The stage's place, from 0."""
    stage_count: int | None = None
    norm: str = ""
    epsilon: float | None = None
    epsilon_space: str = ""
    gradient: str = ""
    """The surrogate gradient of the preprocessing that an adaptive attacker followed: "exact" or "bpda", say."""
    usual_gradient: bool = True
    """Whether it is the preprocessor's usual one."""
    draws: int = 1
    """Gradients averaged per step."""
    transfer_from: str = ""
    """The defense that the examples were made on."""
    preprocess: str
    """What was done to the images before the network, "none" for nothing."""
    preprocess_parameters: Mapping[str, Any] = _mapping()
    """All of its parameters, defaults included."""

    @property
    def preprocessed(self) -> bool:
        """Whether something was done to the images before the network."""
        return self.preprocess not in ("", NO_PREPROCESS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell to be evaluated, or a training. spec: plain JSON values, everything that can change its numbers."""

    spec: Mapping[str, Any]
    description: Description

    @property
    def identity(self) -> str:
        """SHA-256 of the specification."""
        return digest_of(self.spec)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FailedCell:
    """A cell or a training that ended with an error."""

    identity: str
    spec: Mapping[str, Any] = dataclasses.field(hash=False)
    """What the identity is a hash of."""
    description: Description
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellStatus:
    """Whether a cell is done, and when."""

    identity: str
    done: bool
    """False: it failed."""
    description: Description
    recorded: float
    """Seconds since 1970."""
    used: float
    """When a run last used it, in seconds since 1970."""
    reason: str | None
    """Why it failed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Details:
    """What else an evaluation recorded."""

    seconds: Mapping[str, float] = _mapping()
    """By kind of work: perturb, preprocess, predict."""
    outcomes: Mapping[str, int] = _mapping()
    """Of preprocessing: how many images had each outcome, and how many iterations were made in all."""
    flags: tuple[str, ...] = ()
    """What an attack warned of."""
    measures: Mapping[str, float] = _mapping()
    """Numbers that an attack measured, means over the images."""
    trained: Mapping[str, Any] = _mapping()
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
        """Which images were classified correctly: [N] bool, in the order of their indices.

        Raises: HarnessError when the outcomes are not those of N images.
        """
        if len(self.outcome_bits) != -(-self.n_images // 8):
            raise HarnessError(
                f"the cell {self.identity} should have outcomes of {self.n_images} images, "
                f"got {len(self.outcome_bits)} bytes, eight images in each."
            )
        return np.unpackbits(self.outcome_bits, count=self.n_images).view(bool)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a records file held at one moment."""

    records: tuple[Record, ...]
    """In the order of their last use."""
    failures: tuple[FailedCell, ...]
    """In the order of their recording."""
    environments: Mapping[str, Mapping[str, Any]]
    """By digest: versions, device, threads, commit."""
    unreadable: Mapping[str, str] = _mapping()
    """Why a row that is not as it was written is left out, by its key: a cell's identity, an environment's digest."""
