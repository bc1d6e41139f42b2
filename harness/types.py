"""The data that the parts of the harness hand to each other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from harness.errors import UserError

if TYPE_CHECKING:  # takes seconds to import, and a command that only lists names does without
    import torch

SMALL_IMAGE = 64
"""Up to this many pixels a side an image follows the paper's settings for CIFAR, a larger one those for ImageNet."""

Preset = Literal["quick", "paper"]
Threat = Literal["bare", "transfer", "adaptive"]
SEVERITIES = (1, 2, 3, 4, 5)
"""Of a corruption; larger corrupts more."""
THREATS: tuple[Threat, ...] = get_args(Threat)
"""What the attacker knows, the least first: the network alone, another network, the whole defense."""
EpsilonSpace = Literal["pixel", "normalized"]
Norm = Literal["Linf", "L2"]
Purpose = Literal["score", "diagnostic"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Decoded images of one split, or a subset of them."""

    images: np.ndarray
    """[N,C,H,W] uint8, usually memory-mapped."""
    labels: np.ndarray
    """[N] int64."""
    indices: np.ndarray
    """[N] int64, the images' positions in the full split."""
    digest: str
    """SHA-256 of the full split's images and labels, the same for every subset."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, limit: int | None) -> Split:
        """A representative subset: the first `limit` images of a fixed shuffle, in ascending order of index.

        The same limit always gives the same images, and a larger limit only adds some.
        """
        if limit is None or limit >= len(self):
            return self
        rows = np.sort(np.random.default_rng(0).permutation(len(self))[:limit])
        return Split(images=self.images[rows], labels=self.labels[rows], indices=self.indices[rows], digest=self.digest)


class Batch(NamedTuple):
    """Some training images."""

    images: torch.Tensor
    """[B,C,H,W] float32 in [0,1]."""
    labels: torch.Tensor
    """[B] int64."""
    indices: torch.Tensor
    """[B] int64, the images' positions in the training split."""


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """Where training stands."""

    epoch: int
    """The current epoch, from 0."""
    epochs: int
    """How many there are."""
    generator: torch.Generator
    """The only source of random numbers, on the model's device."""
    memory: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    """Tensors by name that a defense keeps from batch to batch, on the model's device.

    Empty at first, saved with every epoch, and restored when an interrupted training resumes.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a loss is minimised: SGD with momentum, by default Nesterov's."""

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["one_cycle", "multi_step"] = "one_cycle"
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Shares of the training after which `multi_step` divides the learning rate by ten."""
    augment: bool = True
    """Random crop after padding by 4 pixels (by more in proportion for larger images), and horizontal flip."""
    nesterov: bool = True

    def described(self) -> dict[str, Any]:
        """The fields by name; `nesterov` only where it is off, so that checkpoints older than the field still match."""
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if name != "nesterov" or not value}


class Condition(NamedTuple):
    """One way to perturb test images."""

    name: str
    """What tables show, "gaussian_noise" or "pgd eps=8/255"."""
    severity: int | None = None
    """1–5, of a corruption."""
    parameters: dict[str, Any] = {}  # noqa: RUF012 (a NamedTuple default; never mutated)
    """Everything that changes the result, plain JSON values; part of a cell's identity."""
    threat: Threat | None = None
    """What the attacker knows; None where nobody attacks."""
    source: str = ""
    """Of corrupted images: "official", or "generated", then with what was done afterwards, if anything."""
    after: Condition | None = None
    """The stage of an attack before this one: only images that it left correct are perturbed."""
    stage_index: int | None = None
    """Of an attack in stages, this one's place, from 0."""
    stage_count: int | None = None
    counts_as: str = ""
    """The attack that worst cases take it for: forms of one attack for different models count as one."""


def check_severity(severity: int) -> int:
    """The severity itself. Raises: UserError when it is not 1–5."""
    if severity not in SEVERITIES:
        raise UserError(f"severity must be 1–5, got {severity}.")
    return severity
