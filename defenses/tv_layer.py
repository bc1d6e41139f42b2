"""The TV layer: total-variation smoothing as the first layer of the network, its strength learned with the weights."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from harness.contracts.defense import Defense
from harness.errors import UserError
from harness.registry import defenses

Mode = Literal["smooth", "sharp"]


def tv_prox(images: torch.Tensor, strength: torch.Tensor, *, sweeps: int = 4) -> torch.Tensor:
    """Anisotropic total-variation smoothing of each channel, by proximal Dykstra between rows and columns.

    Approaches argmin_Y ½‖Y−X‖² + λ(Σ|Y_{i,j+1}−Y_{i,j}| + Σ|Y_{i+1,j}−Y_{i,j}|) as `sweeps` grows; the gradient by
    both arguments is exact for the number of sweeps taken.

    Computed on the CPU, in float64 for float64 images and in float32 for others.

    images: [B,C,H,W] on any device; the result has their type and device
    strength: λ, one number or one per channel [C]; larger removes more
    Source: R. A. Yeh, Y.-T. Hu, Z. Ren, A. G. Schwing, "Total Variation Optimization Layers for
    Computer Vision", CVPR 2022.

    >>> tv_prox(torch.rand(2, 3, 8, 8), torch.tensor(0.1)).shape
    torch.Size([2, 3, 8, 8])
    """
    count, channels, height, width = images.shape
    kind = torch.float64 if images.dtype == torch.float64 else torch.float32
    planes = images.to("cpu", kind).reshape(-1, height, width)
    strengths = strength.to("cpu", kind).expand(channels).repeat(count)
    return _dykstra(planes, strengths, sweeps).reshape(images.shape).to(images)


def _dykstra(planes: torch.Tensor, strengths: torch.Tensor, sweeps: int) -> torch.Tensor:
    smooth = planes
    row_rest = column_rest = torch.zeros_like(planes)
    for _ in range(sweeps):
        moved = smooth + row_rest
        rows = tv_prox_rows(moved, strengths)
        row_rest, moved = moved - rows, rows + column_rest
        smooth = tv_prox_rows(moved.mT, strengths).mT
        column_rest = moved - smooth
    return smooth


def tv_prox_rows(planes: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """argmin_y ½‖y−x‖² + λΣ|y_{i+1}−y_i| of every row, exactly, with the exact gradient by both arguments.

    planes: [P,R,L] float32 or float64 on the CPU
    strengths: λ ≥ 0 of each plane, [P], of the same type
    """
    return _ProxRows.apply(planes, strengths)


class _ProxRows(torch.autograd.Function):
    @staticmethod
    def forward(planes: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
        from ._tv_prox import prox_rows

        return torch.from_numpy(prox_rows(planes.detach().numpy(), strengths.detach().numpy()))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        from ._tv_prox import prox_rows_backward

        (output,) = ctx.saved_tensors
        gradients = prox_rows_backward(output.numpy(), gradient.numpy())
        return torch.from_numpy(gradients.planes), torch.from_numpy(gradients.strength)


class TVLayer2d(nn.Module):
    """Total-variation smoothing (`mode="smooth"`: TV(x)) or its reverse (`"sharp"`: 2x − TV(x), not clipped).

    sweeps: of Dykstra's algorithm; more come nearer to the minimiser
    initial_lambda: the initial λ > 0, in units of the images; larger removes more
    channels: how many λ there are, 1 for one that all channels share
    learned: whether λ = softplus(raw_lambda) is trained, without weight decay, which would pull λ towards softplus(0)
    """

    raw_lambda: torch.Tensor

    def __init__(
        self,
        *,
        mode: Mode = "smooth",
        sweeps: int = 4,
        initial_lambda: float = 0.05,
        channels: int = 1,
        learned: bool = True,
    ) -> None:
        super().__init__()
        _check(mode, sweeps, initial_lambda)
        self.mode = mode
        self.sweeps = sweeps
        raw = torch.full((channels,), initial_lambda + math.log(-math.expm1(-initial_lambda)))
        if learned:
            self.raw_lambda = nn.Parameter(raw)
            self.raw_lambda.no_weight_decay = True  # type: ignore[attr-defined]
        else:
            self.register_buffer("raw_lambda", raw)

    @property
    def strength(self) -> torch.Tensor:
        """λ, one per channel or one for all."""
        return functional.softplus(self.raw_lambda)

    def extra_repr(self) -> str:
        """The parameters, as they would be written in a call."""
        learned = isinstance(self.raw_lambda, nn.Parameter)
        return f"mode={self.mode!r}, sweeps={self.sweeps}, channels={len(self.raw_lambda)}, learned={learned}"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The smoothed or sharpened images, [B,C,H,W] as given."""
        smooth = tv_prox(images, self.strength, sweeps=self.sweeps)
        return smooth if self.mode == "smooth" else 2 * images - smooth


@defenses.register("tv_layer")
class TVLayerDefense(Defense):
    """A total-variation layer in front of the network, its strength learned (Yeh et al., CVPR 2022).

    This project puts the layer on the [0,1] image, before normalisation.

    per_channel: whether every input channel has a λ of its own
    The other parameters are those of `TVLayer2d`.
    """

    def __init__(
        self,
        *,
        mode: Mode = "smooth",
        sweeps: int = 4,
        initial_lambda: float = 0.05,
        per_channel: bool = False,
        learned: bool = True,
    ) -> None:
        _check(mode, sweeps, initial_lambda)
        self.mode = mode
        self.sweeps = sweeps
        self.initial_lambda = initial_lambda
        self.per_channel = per_channel
        self.learned = learned

    def protect(self, model: nn.Module) -> nn.Module:
        """The layer, then the model."""
        layer = TVLayer2d(
            mode=self.mode,
            sweeps=self.sweeps,
            initial_lambda=self.initial_lambda,
            channels=_input_channels(model) if self.per_channel else 1,
            learned=self.learned,
        )
        return nn.Sequential(OrderedDict(tv=layer, model=model))


def _check(mode: str, sweeps: int, initial_lambda: float) -> None:
    if mode not in get_args(Mode):
        raise UserError(f"tv_layer: mode must be one of {', '.join(get_args(Mode))}, got {mode!r}.")
    if sweeps < 1:
        raise UserError(f"tv_layer: sweeps must be at least 1, got {sweeps}.")
    if not 0 < initial_lambda < math.inf:
        raise UserError(f"tv_layer: initial_lambda must be a positive number such as 0.05, got {initial_lambda}.")


def _input_channels(model: nn.Module) -> int:
    """How many channels a network takes, read from its first convolution."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise UserError("tv_layer: per_channel=true needs a network with a convolution, which says how many channels.")
