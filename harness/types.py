"""The few shapes of data that travel between the parts of the harness."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

if TYPE_CHECKING:  # seconds to import, and who only asks for names needs no network
    import torch

SMALL_IMAGE = 64
"""Images up to this many pixels a side follow the paper's settings for CIFAR, larger ones those for ImageNet."""

Preset = Literal["quick", "paper"]
Threat = Literal["bare", "transfer", "adaptive"]
THREATS: tuple[Threat, ...] = get_args(Threat)
"""What the attacker knows, the least first: the network alone, another network, the whole defense."""
EpsilonSpace = Literal["pixel", "normalized"]
Norm = Literal["Linf", "L2"]
Purpose = Literal["score", "diagnostic"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Images of one split as they were decoded, usually memory-mapped.

    images: [N,C,H,W] uint8 · labels: [N] int64 · indices: [N] int64, the images' places in the full split
    digest: SHA-256 of the full split's images and labels; it does not change when a subset is taken.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, limit: int | None) -> Split:
        """A representative subset: the first `limit` of a fixed shuffle, in ascending order of index.

        The same images come back for the same limit, and a larger limit only adds images.
        """
        if limit is None or limit >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(0).permutation(len(self))[:limit])
        return Split(
            images=self.images[chosen], labels=self.labels[chosen], indices=self.indices[chosen], digest=self.digest
        )


class Batch(NamedTuple):
    """Training images [B,C,H,W] float32 in [0,1], labels [B] int64, places in the training split [B] int64."""

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """Where training stands; `generator` lives on the model's device and is the only source of randomness.

    memory: tensors by name that a defense keeps from batch to batch, on the model's device; empty at first, saved with
    every epoch, and handed back when an interrupted training goes on.
    """

    epoch: int
    epochs: int
    generator: torch.Generator
    memory: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about the optimisation that is not the loss: SGD with momentum, Nesterov's unless said otherwise."""

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["one_cycle", "multi_step"] = "one_cycle"
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Shares of the training after which `multi_step` divides the learning rate by ten."""
    augment: bool = True
    """Random crop after 4 pixels of padding (in proportion for larger images) and horizontal flip."""
    nesterov: bool = True

    def described(self) -> dict[str, Any]:
        """Its fields by name; `nesterov` only where it is off, so that checkpoints from before it are found again."""
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
    """Of corrupted images: "generated" or "official"."""
    after: Condition | None = None
    """The stage of an attack before this one: only images that it left correct are perturbed."""
    stage_index: int | None = None
    """Of an attack in stages, this one's place, from 0."""
    stage_count: int | None = None
    counts_as: str = ""
    """The attack that worst cases take it for: forms of one attack for different models count as one."""
