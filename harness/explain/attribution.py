"""Attributions: where in an image the evidence for a class lies, by two maintained libraries, Captum and Zennit.

Captum (BSD) computes Grad-CAM and integrated gradients; Zennit (LGPL, used as it is) layer-wise relevance propagation.
Both are optional: `pip install captum zennit`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import MethodType
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from harness.contracts.model import inner_normalization
from harness.errors import UserError
from harness.models.backbones import ResidualBlock, Resized, SmallResidualNetwork

Method = Literal["LRP", "integrated gradients"]
STEPS = 64
"""Of integrated gradients."""


def library(name: str) -> Any:
    """A module of Captum or Zennit. Raises: UserError when it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"attributions need Captum and Zennit, which are not installed ({error}). "
            "Install them: python -m pip install captum zennit"
        ) from error


def library_versions() -> dict[str, str]:
    """The versions of Captum and Zennit, by name. Raises: UserError when one is not installed."""
    return {name: metadata.version(library(name).__name__) for name in ("captum", "zennit")}


def grad_cam(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017) at the last layer whose output has more than one place.

    Args:
        model: from images [B,C,H,W] in [0,1] to logits, in evaluation mode.
        targets: [B] classes.

    Returns [B,H,W], 0 or more, scaled up bilinearly from the layer's size. Raises: UserError for a network whose
    feature maps are not known.
    """
    captum = library("captum.attr")
    inputs = images.detach().requires_grad_()
    with _feature_maps(model, inputs[:1]) as layer:
        maps = captum.LayerGradCam(model, layer).attribute(inputs, target=targets, relu_attributions=True)
    return functional.interpolate(maps.detach(), images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def relevance(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """How much every pixel adds to the logit of its image's target, [B,H,W], by `relevance_method`.

    LRP: ε rule for linear layers, z⁺ for convolutions, the flat rule for the first (Zennit's EpsilonPlusFlat), batch
    norms merged into convolutions, relevance at residual sums shared in proportion. The maps sum to the logit, less
    what biases take. Integrated gradients: from black; the maps sum to the logit's difference from black.
    Raises: UserError.
    """
    inputs = images.detach().requires_grad_()
    if relevance_method(model) == "LRP":
        return _propagated(model, inputs, targets).detach().sum(1)
    integrated = library("captum.attr").IntegratedGradients(model)
    maps = integrated.attribute(inputs, torch.zeros_like(inputs), targets, n_steps=STEPS, internal_batch_size=STEPS)
    return maps.detach().sum(1).to(images.dtype)


def relevance_method(model: nn.Module) -> Method:
    """LRP where its rules are known: residual networks of plain layers. Else integrated gradients.

    Zennit has no rules for attention, nor has another maintained library for timm's networks. Nor does it know how to
    share the relevance of a layer whose weight is computed (PNI).
    """
    from torchvision.models import ResNet

    network = inner_normalization(model).network
    known = isinstance(network, SmallResidualNetwork | ResNet)
    plain = not any(parametrize.is_parametrized(module) for module in network.modules())
    return "LRP" if known and plain else "integrated gradients"


def _propagated(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Relevance of the network's input behind the normalisation, [B,C,H,W]."""
    canonizers = [
        library("zennit.torchvision").ResNetCanonizer(),
        library("zennit.canonizers").AttributeCanonizer(_own_attributes),
    ]
    composite = library("zennit.composites").EpsilonPlusFlat(canonizers=canonizers)
    network = inner_normalization(model).network
    seen: list[torch.Tensor] = []
    handle = network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    try:
        with composite.context(network):
            logits = model(inputs).gather(1, targets[:, None])
            return torch.autograd.grad(logits, seen[0], logits.detach())[0]
    finally:
        handle.remove()


def _own_attributes(name: str, module: nn.Module) -> dict[str, Any] | None:
    """Modules that Zennit inserts into our networks, which add and average by functions, while it computes."""
    if isinstance(module, ResidualBlock):
        total = library("zennit.layer").Sum()
        return {"canonizer_sum": total, "forward": MethodType(_block_by_modules, module)}
    if isinstance(module, SmallResidualNetwork):
        return {"canonizer_pool": nn.AdaptiveAvgPool2d(1), "forward": MethodType(_network_by_modules, module)}
    return None


def _block_by_modules(block: Any, x: torch.Tensor) -> torch.Tensor:
    inside = block.norm2(block.conv2(functional.relu(block.norm1(block.conv1(x)))))
    return functional.relu(block.canonizer_sum(torch.stack([block.shortcut(x), inside], dim=-1)))


def _network_by_modules(network: Any, x: torch.Tensor) -> torch.Tensor:
    return network.head(network.canonizer_pool(network.blocks(network.stem(x))).flatten(1))


class TokenMaps(nn.Module):
    """The norm of a transformer's block; its patch tokens as maps [B,F,h,w] are the output of `maps`."""

    def __init__(self, norm: nn.Module, prefix: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.norm = norm
        self.prefix = prefix
        self.grid = grid
        self.maps = nn.Identity()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The output of the norm, [B,prefix+h·w,F]."""
        tokens = self.norm(tokens)
        maps = self.maps(tokens[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid))
        return torch.cat([tokens[:, : self.prefix], maps.flatten(2).transpose(1, 2)], 1)


@contextmanager
def _feature_maps(model: nn.Module, image: torch.Tensor) -> Iterator[nn.Module]:
    """The layer whose output [B,F,h,w] Grad-CAM weighs; of a ViT the patches before the last attention."""
    from timm.models import VisionTransformer

    network = inner_normalization(model).network
    network = network.network if isinstance(network, Resized) else network
    if not isinstance(network, VisionTransformer):
        yield _last_maps(model, network, image)
        return
    block: Any = network.blocks[-1]
    norm = block.norm1
    block.norm1 = TokenMaps(norm, network.num_prefix_tokens, network.patch_embed.grid_size)
    try:
        yield block.norm1.maps
    finally:
        block.norm1 = norm


def _last_maps(model: nn.Module, network: nn.Module, image: torch.Tensor) -> nn.Module:
    """The last layer of a convolutional network whose output has more than one place."""
    layers: list[nn.Module] = []

    def look(module: nn.Module, given: Any, made: Any) -> None:
        if isinstance(made, torch.Tensor) and made.ndim == 4 and max(made.shape[2:]) > 1:
            layers.append(module)

    handles = [module.register_forward_hook(look) for module in network.modules()]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    attends = any("Attention" in type(module).__name__ for module in network.modules())
    if attends or not layers:
        raise UserError(
            f"Grad-CAM knows convolutional networks and timm's VisionTransformer, got {type(network).__name__}."
        )
    return layers[-1]
