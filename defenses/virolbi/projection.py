"""Sparse projection: the nearest image that is constant wherever no edge of the support separates pixels."""

from __future__ import annotations

import torch

from harness.errors import UserError, unknown_name

from .backends import backend_for
from .inputs import Images, Kind, as_tensor, like

METHODS = ("graph", "lsqr", "qr", "svd")
_WHOLE_NUMBERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@torch.no_grad()
def project(images: Kind, cut_h: Images, cut_v: Images, *, method: str = "graph") -> Kind:
    """argmin ‖ũ − u‖ over the images with ũ_i = ũ_j for every edge that is not cut (Eq. 6, Prop. 1).

    images: [B,C,H,W] or [C,H,W], floating point of any range, torch or NumPy.
    cut_h: bool [B,H,W−1], or [H,W−1] for a single image; True where the edge from (i,j) to (i,j+1) is in the support.
    cut_v: bool [B,H−1,W] or [H−1,W], for the edges from (i,j) to (i+1,j).
    method: `graph` takes the mean of each 4-neighbour component of the pixels joined by uncut edges, in linear time.
      The others serve for comparison (Table 7). They compute u − D⁺Du, D the rows of the uncut edges, in float64 on
      the CPU: `lsqr` iteratively, to 1e-7; `svd` and `qr` by dense decompositions, for small images only.
    Returns: the projected images, of the kind, type and shape given, on their device.

    >>> import numpy as np
    >>> image = np.array([[[0.0, 0.4, 1.0]]])
    >>> project(image, np.array([[False, True]]), np.zeros((0, 3), bool)).tolist()
    [[[0.2, 0.2, 1.0]]]

    Raises: UserError for shapes that do not fit, cuts that are not boolean, NaN or infinity, unknown methods, and
      images too large for a dense decomposition.
    """
    if method not in METHODS:
        raise unknown_name("projection method", method, METHODS)
    batch = _checked(as_tensor(images))
    horizontal, vertical = _checked_cut("cut_h", cut_h, batch, (0, 1)), _checked_cut("cut_v", cut_v, batch, (1, 0))
    if images.ndim == 3:
        batch, horizontal, vertical = batch[None], horizontal[None], vertical[None]
    if method != "graph":
        from .method.projection_solvers import project_by  # SciPy, which nothing else here needs

        return like(project_by(method, batch, horizontal, vertical), images)
    backend = backend_for(batch.device)
    return like(backend.component_means(batch, backend.components(horizontal, vertical)), images)


def component_means(values: torch.Tensor, labels: torch.Tensor, *, backend: str | None = None) -> torch.Tensor:
    """Every pixel's mean over its component, per channel; linear in `values` and its own adjoint.

    values: [B,C,H,W] or [C,H,W], floating point.
    labels: [B,H,W] or [H,W], whole numbers from 0 to H·W−1, as `Smoothed.labels`.
    backend: as for `smooth`.

    Raises: UserError for other labels, and for values that are not floating point or not of such a shape.
    """
    _check_labels(values, labels)
    batch, parts = (values, labels) if values.ndim == 4 else (values[None], labels[None])
    return backend_for(values.device, backend).component_means(batch, parts).view_as(values)


def _check_labels(values: torch.Tensor, labels: torch.Tensor) -> None:
    """Raises: UserError for what the kernels would not survive: they read and write where a label says."""
    if values.ndim not in (3, 4) or not values.is_floating_point():
        got = f"{_type_of(values)} of shape {list(values.shape)}"
        raise UserError(f"values must be floating point, [B,C,H,W] or [C,H,W], got {got}.")
    expected = [*values.shape[:-3], *values.shape[-2:]]
    if list(labels.shape) != expected:
        raise UserError(f"labels must have shape {expected} for values {list(values.shape)}, got {list(labels.shape)}.")
    if labels.dtype not in _WHOLE_NUMBERS:
        raise UserError(f"labels must be whole numbers, got {_type_of(labels)}.")
    if labels.numel():
        lowest, highest = (int(bound) for bound in torch.stack(labels.aminmax()).tolist())
        pixels = labels.shape[-2] * labels.shape[-1]
        if lowest < 0 or highest >= pixels:
            raise UserError(
                f"labels must lie from 0 to {pixels - 1}, one less than the pixels, got {lowest} to {highest}."
            )


def _type_of(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _checked(images: torch.Tensor) -> torch.Tensor:
    shape = list(images.shape)
    if images.ndim not in (3, 4) or 0 in shape[-3:]:
        raise UserError(f"images must be [B,C,H,W] or [C,H,W] with at least one pixel, got shape {shape}.")
    if images.dtype not in (torch.float32, torch.float64):
        raise UserError(f"images must be float32 or float64, got {_type_of(images)}.")
    if not images.isfinite().all():
        raise UserError("images must be finite, got NaN or infinity.")
    return images


def _checked_cut(name: str, cut: Images, images: torch.Tensor, missing: tuple[int, int]) -> torch.Tensor:
    """The cuts as a tensor; `missing`: how many rows and columns fewer they have than the images."""
    height, width = images.shape[-2:]
    expected = [*images.shape[:-3], height - missing[0], width - missing[1]]
    tensor = as_tensor(cut)
    if tensor.dtype != torch.bool:
        raise UserError(f"{name} must be boolean, got {_type_of(tensor)}.")
    if list(tensor.shape) != expected:
        raise UserError(f"{name} must have shape {expected} for images {list(images.shape)}, got {list(tensor.shape)}.")
    return tensor.to(images.device)
