"""An explanation computes one exhibit from a run's models and images; the context holds these."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from harness.contracts.model import inner_normalization
from harness.errors import UserError
from harness.files import file_digest
from harness.models import checkpoints
from harness.models.load import load
from harness.progress import say
from harness.records.exhibits import Exhibit
from harness.registry import defenses
from harness.seeding import derive, generator
from harness.types import Split

from .photographs import read_photograph

if TYPE_CHECKING:
    from harness.contracts.dataset import Dataset


class Explanation:
    """Computes one exhibit; its keyword-only constructor parameters are the user's to set in the name.

    A subclass registers in `harness.registry.exhibits` under the name that figures ask for.
    """

    version: ClassVar[int] = 1
    """Raised when a change of code changes the arrays; the exhibit is then computed again."""
    label: str

    @property
    def name(self) -> str:
        """The label without its parameters: the exhibit's name on disk and in figures."""
        return self.label.partition(":")[0]

    def sources(self, context: ExplainContext) -> dict[str, Any]:
        """What the arrays depend on beside the parameters, as JSON values. Raises: UserError."""
        raise NotImplementedError

    def compute(self, context: ExplainContext) -> Exhibit:
        """The arrays and their metadata. Raises: UserError."""
        raise NotImplementedError


class Samples(NamedTuple):
    """Some test images."""

    images: np.ndarray
    """[N,C,H,W] uint8."""
    labels: np.ndarray
    """[N]."""
    indices: np.ndarray
    """[N], their places in the test split."""


class ExplainedModel(NamedTuple):
    """A checkpoint of the run."""

    path: Path
    metadata: dict[str, Any]
    digest: str
    """SHA-256 of the file."""

    @property
    def defense(self) -> str:
        """The defense's label."""
        return str(self.metadata["defense"])

    @property
    def backbone(self) -> str:
        """The backbone's label."""
        return str(self.metadata["backbone"])

    @property
    def seed(self) -> int:
        """The seed of the training, 0 where it is not recorded."""
        return int(self.metadata.get("seed", 0))

    @property
    def final(self) -> bool:
        """Whether it is the end of its training; a checkpoint kept during training is not."""
        return "kept" not in self.metadata

    @property
    def epoch(self) -> int | None:
        """How many epochs it was trained for; None where that is not recorded."""
        epoch = self.metadata.get("epoch") or self.metadata.get("recipe", {}).get("epochs")
        return None if epoch is None else int(epoch)

    def network(self, device: torch.device) -> nn.Module:
        """The network without preprocessing, in evaluation mode; random layers start from a fixed seed."""
        model = load(self.path, device=device)
        defenses.create(self.defense).reseed(model, derive(0, "explain"))
        inner_normalization(model)  # refuses a model that has none
        return model


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainContext:
    """What explanations are computed from: a run, its data set and photographs."""

    run: Path
    """The run's folder."""
    device: torch.device
    dataset: Dataset | None = None
    no_dataset: str = "no data set is named: give --dataset."
    """Why `dataset` is None."""
    photographs: tuple[Path, ...] = ()
    """Picture files."""
    limit: int = 512
    """Test images that averages are taken over."""
    seed: int = 0
    """Seeds the choice of samples."""

    @property
    def opened(self) -> Dataset:
        """The data set. Raises: UserError when there is none."""
        if self.dataset is None:
            raise UserError(self.no_dataset)
        return self.dataset

    def test_images(self) -> Split:
        """The test images that averages are taken over."""
        return self.opened.test().take(self.limit)

    def samples(self, count: int) -> Samples:
        """Test images to look at, each of another class as long as there are classes."""
        split = self.opened.test()
        order = torch.randperm(len(split), generator=generator(self.seed, "explain samples")).numpy()
        _, first = np.unique(split.labels[order], return_index=True)
        others = np.setdiff1d(np.arange(len(order)), first)
        selected = order[np.concatenate([np.sort(first), others])[:count]]
        return Samples(np.asarray(split.images[selected]), split.labels[selected], split.indices[selected])

    def class_names(self, labels: Iterable[int]) -> list[str]:
        """The names of these classes."""
        return [self.opened.classes[int(label)] for label in labels]

    def pictures(self, count: int, size: int) -> tuple[list[str], np.ndarray]:
        """The names of photographs and their middle squares, [N,3,size,size] uint8.

        They are spread evenly over all photographs; one that cannot be read is named and left out.
        Raises: UserError when none can be read.
        """
        every = self.photographs
        spread = [every[number * len(every) // count] for number in range(count)] if len(every) > count else every
        squares = [(path.stem, image) for path in spread if (image := read_photograph(path, size)) is not None]
        if not squares:
            lacking = "none of the pictures of --images could be read" if every else "there are no photographs"
            raise UserError(f"{lacking}: give a folder of pictures with --images.")
        return [name for name, _ in squares], np.stack([image for _, image in squares])

    @functools.cached_property
    def checkpoints(self) -> list[ExplainedModel]:
        """The run's checkpoints for this data set, of its lowest seed. Raises: UserError when there are none."""
        folder = self.run / "checkpoints"
        readable = filter(None, map(_read, sorted(folder.glob("*.pt"))))
        models = [model for model in readable if self._fits(model)]
        if not models:
            raise UserError(
                f"there are no checkpoints for {self.opened.name} in {folder}: "
                "train with this run's options and --out, or give the --dataset they were trained on."
            )
        lowest = min(model.seed for model in models)
        return [model for model in models if model.seed == lowest]

    @property
    def finals(self) -> list[ExplainedModel]:
        """The checkpoint that each training ended with. Raises: UserError when there is none."""
        finals = [model for model in self.checkpoints if model.final]
        if not finals:
            raise UserError(f"no training in {self.run} is finished yet: give the run's command again.")
        return finals

    def _fits(self, model: ExplainedModel) -> bool:
        shape = list(self.opened.test().images.shape[1:])
        expected = {"dataset": self.opened.name, "classes": list(self.opened.classes), "image_shape": shape}
        return all(model.metadata.get(key) == value for key, value in expected.items())


def digest_of_images(*arrays: np.ndarray) -> str:
    """SHA-256 over the types, shapes and values of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def described(models: Sequence[ExplainedModel]) -> list[dict[str, Any]]:
    """Each checkpoint's metadata for figures; its name holds the backbone where there are several."""
    several = len({model.backbone for model in models}) > 1
    return [
        {
            "name": f"{model.defense}, {model.backbone}" if several else model.defense,
            "defense": model.defense,
            "backbone": model.metadata["backbone"],
            "epoch": model.epoch,
            **({} if model.final else {"kept": model.metadata["kept"]}),
        }
        for model in models
    ]


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Images in [0,1] as uint8; values outside are clipped."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def _read(path: Path) -> ExplainedModel | None:
    """A checkpoint; None, after a line on why, where it cannot be read, and for one that names no defense."""
    try:
        metadata = checkpoints.load(path).metadata
    except UserError as error:
        say(f"left out: {error}")
        return None
    if not {"defense", "backbone"} <= metadata.keys():
        return None
    return ExplainedModel(path, metadata, file_digest(path))
