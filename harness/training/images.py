"""The images of an epoch: kept where they fit, shuffled, augmented, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional

from harness.types import Batch, TrainingState

DEVICE_SHARE = 0.5
"""Share of a device's free memory that the training images may take; larger sets stay in the CPU's memory."""


class ImageStore:
    """Training images kept on the device while an epoch asks for the same array as the one before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._array: np.ndarray | None = None
        self._tensor: torch.Tensor | None = None

    def source(self, images: np.ndarray) -> torch.Tensor | np.ndarray:
        """The images on the device, or as they are when they do not fit there."""
        if images is not self._array:
            self._array, self._tensor = images, None
            if images.nbytes <= _room(self.device):
                self._tensor = torch.from_numpy(np.array(images)).to(self.device)
        return images if self._tensor is None else self._tensor


def batches(
    source: torch.Tensor | np.ndarray,
    labels: np.ndarray,
    sizes: Sequence[int],
    state: TrainingState,
    device: torch.device,
    *,
    augmented: bool,
) -> Iterator[Batch]:
    """Shuffled batches of an epoch, of these sizes, on the device."""
    classes = torch.from_numpy(np.array(labels)).to(device)
    order = torch.randperm(len(labels), generator=state.generator, device=device)
    for rows in order.split(list(sizes)):
        raw = source[rows] if isinstance(source, torch.Tensor) else _gather(source, rows, device)
        batch = raw.to(memory_format=torch.channels_last).float().div_(255)
        if augmented:
            batch = augment(batch, state.generator)
        yield Batch(batch, classes[rows], rows)


def augment(images: torch.Tensor, source: torch.Generator) -> torch.Tensor:
    """Random shift by up to an eighth of the size, reflecting at the border, and horizontal flip; per image."""
    count, _, height, width = images.shape
    pad = max(1, min(height, width) // 8)
    padded = functional.pad(images, (pad, pad, pad, pad), mode="reflect")
    top, left = torch.randint(0, 2 * pad + 1, (2, count), generator=source, device=images.device)
    flip = torch.rand(count, generator=source, device=images.device) < 0.5
    rows = torch.arange(height, device=images.device) + top[:, None]
    columns = torch.arange(width, device=images.device) + left[:, None]
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    which = torch.arange(count, device=images.device)[:, None, None]
    cropped = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


def _gather(images: np.ndarray, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Rows of an array too large for the device, read in the order they lie on disk."""
    wanted = rows.cpu().numpy()
    order = np.argsort(wanted)
    gathered = np.empty((len(wanted), *images.shape[1:]), images.dtype)
    gathered[order] = images[wanted[order]]
    return torch.from_numpy(gathered).to(device)


def _room(device: torch.device) -> float:
    """Bytes of training images that may lie on the device."""
    if device.type == "cuda":
        return DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
    return 2**30
