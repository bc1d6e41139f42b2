"""What a data set is: its splits, its classes, its usual backbone, its official corruptions."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.errors import UserError
from harness.registry import datasets
from harness.types import SMALL_IMAGE, Preset, Split

if TYPE_CHECKING:
    import torch

SplitName = Literal["train", "test"]


@datasets.base_class
class Dataset:
    """Two splits of labelled images; a data set says how to `load` each of them."""

    name: str
    """As tables show it."""
    family: str | None = None
    """The paper's data set it belongs to: "cifar10", "cifar100", "imagenet100"; "imagenet" for all 1,000 classes."""
    classes: tuple[str, ...]
    """Names, in the order of the labels."""
    mean: tuple[float, ...]
    """Per channel, of images in [0,1]."""
    std: tuple[float, ...]
    """Per channel, of images in [0,1]."""
    label: str
    """The name with its parameters, set by the registry."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'label', self.name)}>"

    def load(self, split: SplitName) -> Split:
        """One split, in a fixed order. Raises: UserError when the files are not what was expected."""
        raise NotImplementedError

    def train(self) -> Split:
        """The training split, loaded the first time it is asked for."""
        return self._loaded("train")

    def test(self) -> Split:
        """The test split, loaded the first time it is asked for."""
        return self._loaded("test")

    @property
    def image_shape(self) -> tuple[int, ...]:
        """[C,H,W] of its images."""
        return tuple(self.test().images.shape[1:])

    def usual_backbone(self, preset: Preset) -> str:
        """The network it is run on when none is named: the paper's for its size, a smaller one for `quick`."""
        if max(self.image_shape[1:]) > SMALL_IMAGE:
            return "resnet50"
        return "resnet18" if preset == "paper" else "resnet_mid"

    def official(self, corruption: str, severity: int) -> str | None:
        """A fingerprint of the official corrupted test images where the user has them, else None.

        It is asked before anything is computed, for every condition, and so must not decode pictures.
        Raises: UserError when the files are there and do not fit the test split.
        """
        return None

    def corrupted(self, corruption: str, severity: int, indices: np.ndarray) -> np.ndarray:
        """The official corrupted test images at these places in the full split, [B,C,H,W] uint8.

        Raises: UserError when the user has none, or a file cannot be used.
        """
        raise UserError(f"{self.name} has no official images of {corruption}, severity {severity}.")

    def _loaded(self, split: SplitName) -> Split:
        memory: dict[SplitName, Split] = self.__dict__.setdefault("_splits", {})
        if split not in memory:
            memory[split] = self.load(split)
        return memory[split]


def as_float(images: np.ndarray) -> torch.Tensor:
    """Images uint8 as float32 in [0,1], of the same shape."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).float().div_(255)


def digest_of_arrays(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 over the shapes, types and values of images and labels."""
    digest = hashlib.sha256()
    for array in (images, labels):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
