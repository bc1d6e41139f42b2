"""The undefended classifiers: small ones for a CPU, the paper's, and any of timm's by name.

Which one a run takes by default, its data set says: `usual_backbone` in `harness/contracts/dataset.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from statistics import fmean
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

from harness.errors import UserError
from harness.registry import backbones
from harness.types import SMALL_IMAGE

Values = tuple[float, ...]
IMAGENET_NORMALIZATION = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
VIT_NORMALIZATION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
Factory = TypeVar("Factory", bound=Callable[..., nn.Module])


def usual_learning_rate(rate: float) -> Callable[[Factory], Factory]:
    """Decorator: the learning rate of this backbone's recipe, where it is not `training.recipes.LEARNING_RATE`."""

    def mark(factory: Factory) -> Factory:
        factory.learning_rate = rate  # type: ignore[attr-defined]
        return factory

    return mark


backbones.base_class(nn.Module)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        same = stride == 1 and before == after
        self.shortcut = nn.Identity() if same else _project(before, after, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,before,H,W] to [B,after,H/stride,W/stride]."""
        inside = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(inside)) + self.shortcut(x))


class SmallResidualNetwork(nn.Module):
    """A stem and one residual block per width, each halving the image; global average pooling; a linear layer."""

    def __init__(self, channels: int, classes: int, stem: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        before = (stem, *widths[:-1])
        self.blocks = nn.Sequential(*(ResidualBlock(a, b, 2) for a, b in zip(before, widths, strict=True)))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B,classes]."""
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Resized(nn.Module):
    """A network that sees its images enlarged to the size it was made for."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the images, bilinearly resized to [B,C,size,size]."""
        return self.network(functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True))


@backbones.register("resnet_small")
def resnet_small(*, classes: int, image_shape: tuple[int, int, int], pretrained: bool = False) -> nn.Module:
    """Residual network of 0.08 M parameters; trains on `shapes` on a CPU in seconds."""
    _no_weights("resnet_small", pretrained)
    return SmallResidualNetwork(_channels(image_shape), classes, 16, (16, 32, 64))


@backbones.register("resnet_mid")
def resnet_mid(*, classes: int, image_shape: tuple[int, int, int], pretrained: bool = False) -> nn.Module:
    """Residual network of 1.2 M parameters; CIFAR-sized images on a CPU."""
    _no_weights("resnet_mid", pretrained)
    return SmallResidualNetwork(_channels(image_shape), classes, 32, (64, 128, 256))


@backbones.register("resnet18")
def resnet18(*, classes: int, image_shape: tuple[int, int, int], pretrained: bool = False) -> nn.Module:
    """ResNet-18; a 3×3 stem without max-pooling for images up to 64 pixels (He et al. 2016)."""
    return _torchvision("resnet18", "ResNet18_Weights", classes, image_shape, pretrained)


@backbones.register("resnet50")
def resnet50(*, classes: int, image_shape: tuple[int, int, int], pretrained: bool = False) -> nn.Module:
    """ResNet-50 of torchvision; pretrained=true starts from its ImageNet weights."""
    return _torchvision("resnet50", "ResNet50_Weights", classes, image_shape, pretrained)


@backbones.register("vit_tiny")
@usual_learning_rate(0.01)
def vit_tiny(
    *, classes: int, image_shape: tuple[int, int, int], pretrained: bool = False, native: bool = False
) -> nn.Module:
    """ViT-tiny of timm, images resized to 224 inside; native=true: patch 4 at the images' own size, from scratch."""
    if native:
        if pretrained:
            raise UserError("vit_tiny:native=true is trained from scratch: it has no pretrained weights. Drop one.")
        return _timm(
            "vit_tiny_patch16_224", classes, image_shape, pretrained=False, patch_size=4, img_size=image_shape[1:]
        )
    network = _timm("vit_tiny_patch16_224.augreg_in21k_ft_in1k", classes, image_shape, pretrained=pretrained)
    return _with_normalization(_resized(network, 224, image_shape), image_shape, *VIT_NORMALIZATION)


@backbones.register("timm")
@usual_learning_rate(0.01)
def timm_model(*, name: str, classes: int, image_shape: tuple[int, int, int], pretrained: bool = False) -> nn.Module:
    """Any network of timm, `timm:NAME`; images are resized to the size it needs, where it needs one."""
    network = _timm(name, classes, image_shape, pretrained=pretrained)
    config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    if config.get("fixed_input_size") and config.get("input_size"):
        network = _resized(network, config["input_size"][-1], image_shape)
    return _with_normalization(network, image_shape, config["mean"], config["std"]) if pretrained else network


def _project(before: int, after: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


def _channels(image_shape: tuple[int, int, int]) -> int:
    return image_shape[0]


def _resized(network: nn.Module, size: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """A network that needs squares of this size, which images of another size or shape are resized to."""
    return network if tuple(image_shape[1:]) == (size, size) else Resized(network, size)


def _no_weights(name: str, pretrained: bool) -> None:
    if pretrained:
        raise UserError(
            f"{name} has no pretrained weights; drop pretrained=true, or take vit_tiny or timm:NAME, "
            f"for images of more than {SMALL_IMAGE} pixels also resnet18 or resnet50."
        )


def _with_normalization(network: nn.Module, image_shape: tuple[int, int, int], *normalization: Values) -> nn.Module:
    """Mark a network that has a mean and std of its own, which are used instead of the data set's.

    For images of other than three channels each is the average over the three, as timm adds up the weights of these.
    """
    channels = _channels(image_shape)
    suited = [values if len(values) == channels else (fmean(values),) * channels for values in normalization]
    network.normalization = tuple(suited)  # type: ignore[assignment]
    return network


def _torchvision(
    name: str, weights: str, classes: int, image_shape: tuple[int, int, int], pretrained: bool
) -> nn.Module:
    import torchvision

    small, channels = max(image_shape[1:]) <= SMALL_IMAGE, _channels(image_shape)
    if pretrained and (small or channels != 3):
        raise UserError(
            f"{name} is pretrained on 3-channel ImageNet images, got images of shape {image_shape}. "
            "Drop pretrained=true, or take vit_tiny or timm:NAME, which resize them."
        )
    network = getattr(torchvision.models, name)(weights=_downloaded(name, weights) if pretrained else None)
    network.fc = nn.Linear(network.fc.in_features, classes)
    if small:
        network.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    return _with_normalization(network, image_shape, *IMAGENET_NORMALIZATION) if pretrained else network


def _downloaded(name: str, weights: str) -> object:
    import torchvision

    default = getattr(torchvision.models, weights).DEFAULT
    try:
        default.get_state_dict(progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the pretrained weights of {name} could not be loaded: {error}. Drop pretrained=true."
        ) from error
    return default


def _timm(name: str, classes: int, image_shape: tuple[int, int, int], *, pretrained: bool, **options: Any) -> nn.Module:
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name.lower(), timm.list_models(), n=5)
        raise UserError(f"timm knows no network {name!r}. Near: {', '.join(near) or 'none'}; all: timm.list_models().")
    try:
        return timm.create_model(
            name, pretrained=pretrained, num_classes=classes, in_chans=_channels(image_shape), **options
        )
    except (OSError, RuntimeError, ValueError) as error:
        what = f"pretrained weights of {name}" if pretrained else f"network {name}"
        raise UserError(f"timm could not build the {what}: {str(error).splitlines()[0]}") from error
