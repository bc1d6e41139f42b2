"""What an exhibit is computed from, and what computes one."""

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
    """What computes one exhibit; its keyword-only constructor parameters are the user's to set in the name.

    A subclass registers in `harness.registry.exhibits` under the name that figures ask for.
    """

    version: ClassVar[int] = 1
    """Raised when a change of code changes the arrays; the exhibit is then made anew."""
    label: str

    @property
    def name(self) -> str:
        """Without its parameters: what the exhibit is called on disk, and by figures."""
        return self.label.partition(":")[0]

    def sources(self, material: Material) -> dict[str, Any]:
        """All that the arrays follow from beside the parameters, as JSON values. Raises: UserError."""
        raise NotImplementedError

    def compute(self, material: Material) -> Exhibit:
        """The arrays and what they show. Raises: UserError."""
        raise NotImplementedError


class Samples(NamedTuple):
    """Some test images: [N,C,H,W] uint8 · labels: [N] · indices: their places in the test split [N]."""

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


class Held(NamedTuple):
    """A checkpoint of the run. digest: of the file · epoch: how many epochs it was trained for, None where unknown."""

    path: Path
    about: dict[str, Any]
    digest: str

    @property
    def defense(self) -> str:
        """The defense's label."""
        return str(self.about["defense"])

    @property
    def final(self) -> bool:
        """Whether it is what the training came to, not kept on the way."""
        return "kept" not in self.about

    @property
    def epoch(self) -> int | None:
        """Epochs trained."""
        epoch = self.about.get("epoch") or self.about.get("recipe", {}).get("epochs")
        return None if epoch is None else int(epoch)

    def network(self, device: torch.device) -> nn.Module:
        """The network without preprocessing, in evaluation mode; random layers start from a fixed place."""
        model = load(self.path, device=device)
        defenses.create(self.defense).reseed(model, derive(0, "explain"))
        inner_normalization(model)
        return model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """What there is to explain.

    run: its folder · dataset: None where it cannot be opened, for the reason `no_dataset` · photographs: picture files
    · limit: test images that averages are taken over · seed: of the choice of images.
    """

    run: Path
    device: torch.device
    dataset: Dataset | None = None
    no_dataset: str = "no data set is named: give --dataset."
    photographs: tuple[Path, ...] = ()
    limit: int = 512
    seed: int = 0

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
        """Test images to look at, each of another class as far as there are classes."""
        split = self.opened.test()
        order = torch.randperm(len(split), generator=generator(self.seed, "explain samples")).numpy()
        _, first = np.unique(split.labels[order], return_index=True)
        others = np.setdiff1d(np.arange(len(order)), first)
        chosen = order[np.concatenate([np.sort(first), others])[:count]]
        return Samples(np.asarray(split.images[chosen]), split.labels[chosen], split.indices[chosen])

    def class_names(self, labels: Iterable[int]) -> list[str]:
        """The names of these classes."""
        return [self.opened.classes[int(label)] for label in labels]

    def pictures(self, count: int, size: int) -> tuple[list[str], np.ndarray]:
        """The names of photographs and their middle squares, [N,3,size,size] uint8.

        Spread evenly over those there are; one that cannot be read is named and left out.
        Raises: UserError when none can.
        """
        wanted = self.photographs
        spread = [wanted[number * len(wanted) // count] for number in range(count)] if len(wanted) > count else wanted
        found = [(path.stem, image) for path in spread if (image := read_photograph(path, size)) is not None]
        if not found:
            raise UserError("there are no photographs: give a folder of pictures with --images.")
        return [name for name, _ in found], np.stack([image for _, image in found])

    @functools.cached_property
    def checkpoints(self) -> list[Held]:
        """The run's checkpoints for this data set, of its lowest seed. Raises: UserError when there are none."""
        folder = self.run / "checkpoints"
        held = [one for path in sorted(folder.glob("*.pt")) if (one := _read(path)) is not None and self._fits(one)]
        if not held:
            raise UserError(
                f"there are no checkpoints for {self.opened.name} in {folder}: "
                "train with this run's options and --out, or give the --dataset they were trained on."
            )
        lowest = min(one.about.get("seed", 0) for one in held)
        return [one for one in held if one.about.get("seed", 0) == lowest]

    @property
    def finals(self) -> list[Held]:
        """What every training came to. Raises: UserError when there is nothing."""
        found = [one for one in self.checkpoints if one.final]
        if not found:
            raise UserError(f"no training in {self.run} is finished yet: give the run's command again.")
        return found

    def _fits(self, held: Held) -> bool:
        shape = list(self.opened.test().images.shape[1:])
        expected = {"dataset": self.opened.name, "classes": list(self.opened.classes), "image_shape": shape}
        return all(held.about.get(key) == value for key, value in expected.items())


def digest_of_images(*arrays: np.ndarray) -> str:
    """SHA-256 over the shapes and values of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def described(held: Sequence[Held]) -> list[dict[str, Any]]:
    """What figures say of each checkpoint."""
    several = len({one.about["backbone"] for one in held}) > 1
    names = [f"{one.defense}, {one.about['backbone']}" if several else one.defense for one in held]
    return [
        {"name": name, "defense": one.defense, "backbone": one.about["backbone"], "epoch": one.epoch}
        | ({} if one.final else {"kept": one.about["kept"]})
        for name, one in zip(names, held, strict=True)
    ]


def _read(path: Path) -> Held | None:
    """A checkpoint, or None with a line on why it is left out."""
    try:
        about = checkpoints.load(path).metadata
    except UserError as error:
        say(f"left out: {error}")
        return None
    if not {"defense", "backbone"} <= about.keys():
        return None
    with path.open("rb") as file:
        return Held(path, about, hashlib.file_digest(file, "sha256").hexdigest())


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Images in [0,1], what leads beyond cut off, as uint8."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
