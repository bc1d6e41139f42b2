"""What a data set is."""

from __future__ import annotations

import numpy as np

from harness.types import Split

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
CIFAR100_MEAN, CIFAR100_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Dataset:
    """Two splits of labelled images.

    name: what tables show · family: the paper's data set it belongs to ("cifar10", "cifar100", "imagenet100")
    or None · classes: names in the order of the labels · mean, std: per channel of images in [0,1].
    """

    name: str
    family: str | None = None
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def train(self) -> Split:
        """The training split."""
        raise NotImplementedError

    def test(self) -> Split:
        """The test split."""
        raise NotImplementedError

    def corrupted(self, corruption: str, severity: int) -> np.ndarray | None:
        """The official corrupted test images [N,C,H,W] uint8 where the user has them, else None."""
        return None
