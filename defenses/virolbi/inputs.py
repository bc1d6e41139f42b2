"""From images as users have them (torch or NumPy, one or a batch) to a checked batch, and back."""

from __future__ import annotations

import math
from typing import TypeAlias, TypeVar

import numpy as np
import torch

from harness.errors import UserError

Images: TypeAlias = torch.Tensor | np.ndarray
Kind = TypeVar("Kind", torch.Tensor, np.ndarray)

_TOLERANCE = 1e-6
"""How far rounding may push a value out of [0,1] before it counts as a mistake."""


def to_batch(images: Images, *, double: bool = False) -> torch.Tensor:
    """[B,C,H,W] or [C,H,W] to a contiguous, detached [B,C,H,W].

    float32 stays as it is; float16, bfloat16 and (unless `double`) float64 become float32; uint8 is divided by 255.
    Raises: UserError for another type, rank, channel count or an empty image, for NaN or infinity, and for values
    outside [0,1].
    """
    tensor = as_tensor(images)
    _check_shape(tensor)
    batch = (tensor if tensor.ndim == 4 else tensor[None]).contiguous()
    batch = _to_float(batch, double=double)
    return _check_values(batch)


def as_tensor(images: Images) -> torch.Tensor:
    """The images, detached; NumPy arrays are copied, whatever their strides, byte order or write protection."""
    if isinstance(images, torch.Tensor):
        return images.detach()
    if isinstance(images, np.ndarray):
        return _from_numpy(images)
    raise UserError(
        f"images must be a torch tensor or a NumPy array, got {type(images).__name__}. "
        "InverseScaleSmoothing takes Pillow pictures."
    )


def like(batch: torch.Tensor, images: Kind) -> Kind:
    """A result with a batch axis, as torch or NumPy and with or without that axis, as `images` is."""
    result = batch if images.ndim == 4 else batch[0]
    return result if isinstance(images, torch.Tensor) else result.numpy()


def _check_shape(images: torch.Tensor) -> None:
    shape = list(images.shape)
    if images.ndim not in (3, 4):
        raise UserError(f"images must be [B,C,H,W] or [C,H,W], got shape {shape}.")
    if shape[-3] not in (1, 3):
        hint = " Move the channels forward: images.permute or transpose." if shape[-1] in (1, 3) else ""
        raise UserError(f"images must have 1 or 3 channels, before height and width, got shape {shape}.{hint}")
    if 0 in shape[-2:]:
        raise UserError(f"images must have at least one pixel, got shape {shape}.")


def _to_float(batch: torch.Tensor, *, double: bool) -> torch.Tensor:
    if batch.dtype == torch.uint8:
        return batch.float() / 255
    if not batch.dtype.is_floating_point:
        kind = str(batch.dtype).removeprefix("torch.")
        raise UserError(f"images must be floating point in [0,1], or uint8, got {kind}.")
    return batch.to(torch.float64 if double and batch.dtype == torch.float64 else torch.float32)


def _from_numpy(images: np.ndarray) -> torch.Tensor:
    try:
        return torch.from_numpy(np.array(images, dtype=images.dtype.newbyteorder("="), order="C"))
    except TypeError as error:
        raise UserError(f"images must be floating point in [0,1], or uint8, got {images.dtype}.") from error


def _check_values(batch: torch.Tensor) -> torch.Tensor:
    """The batch, clipped where rounding exceeds [0,1]. Raises: UserError for larger excesses, NaN and infinity."""
    if not batch.numel():
        return batch
    lowest, highest = (float(bound) for bound in batch.aminmax())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise UserError("images must be finite, got NaN or infinity.")
    if lowest >= 0 and highest <= 1:
        return batch
    if lowest < -_TOLERANCE or highest > 1 + _TOLERANCE:
        advice = (
            "Divide 8-bit values by 255." if lowest >= 0 and highest > 2 else "Undo a normalisation, or clamp noise."
        )
        raise UserError(f"images must lie in [0,1], got values from {lowest:g} to {highest:g}. {advice}")
    return batch.clamp(0, 1)
