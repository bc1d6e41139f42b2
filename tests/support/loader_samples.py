"""A data set in a module of its own, where a spawned worker finds it whatever the tests are imported as."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.data import Dataset


def sample(seed: int) -> torch.Tensor:
    """[3,10,12]: noise on two halves."""
    noise = torch.rand((3, 10, 12), generator=torch.Generator().manual_seed(seed))
    noise[:, :, 6:] += 1
    return noise / 2


class Samples(Dataset):
    """Transformed samples, each with the number of threads its process uses."""

    def __init__(self, count: int, transform: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.count, self.transform = count, transform

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(sample(index)), torch.get_num_threads()
