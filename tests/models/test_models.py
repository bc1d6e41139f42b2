"""Backbones and the wrappers around them: sizes, shapes, normalisation, pretrained weights."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import nn

from harness.contracts.model import NormalizedModel, Pipeline
from harness.errors import UserError
from harness.models.backbones import Resized
from harness.registry import backbones

CIFAR = (3, 32, 32)
VIT = (0.5, 0.5, 0.5)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from more, and wait for them on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would be downloaded is out of reach."""

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", refuse)
    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)


def build(name: str, shape: tuple[int, int, int] = CIFAR, classes: int = 10) -> nn.Module:
    network: nn.Module = backbones.create(name, classes=classes, image_shape=shape)
    return network


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def logits(network: nn.Module, shape: tuple[int, int, int], count: int = 2) -> torch.Tensor:
    """Logits of random images, taken without keeping what a gradient needs."""
    images = torch.rand((count, *shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found: torch.Tensor = network.eval()(images)
    return found


def test_images_are_normalised_before_the_network() -> None:
    images = torch.rand((4, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)

    found = NormalizedModel(nn.Identity(), mean, std)(images)

    for channel in range(3):
        torch.testing.assert_close(found[:, channel], (images[:, channel] - mean[channel]) / std[channel])


def test_normalisation_is_saved_with_the_weights_and_never_learned() -> None:
    model, other = (NormalizedModel(nn.Linear(2, 3), (mean,), (0.25,)) for mean in (0.5, 0.1))

    other.load_state_dict(model.state_dict())

    assert other.mean.item() == 0.5
    assert count_parameters(model) == 2 * 3 + 3
    assert model.to(torch.float64).mean.dtype == torch.float64


def test_a_pipeline_preprocesses_first_and_lets_gradients_through() -> None:
    class Half(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images / 2

    images = torch.rand((2, 1, 2, 2), generator=torch.Generator().manual_seed(0)).requires_grad_()

    found = Pipeline(Half(), nn.Flatten())(images)
    found.sum().backward()

    torch.testing.assert_close(found, images.flatten(1) / 2)
    torch.testing.assert_close(images.grad, torch.full_like(images, 0.5))


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [
        ("resnet18", CIFAR, 10, 11_173_962),
        ("resnet18", (3, 64, 64), 100, 11_220_132),
        ("resnet18", (3, 224, 224), 1000, 11_689_512),
        ("resnet50", (3, 224, 224), 1000, 25_557_032),
        ("vit_tiny", CIFAR, 1000, 5_717_416),
        ("vit_tiny", (3, 224, 224), 1000, 5_717_416),
    ],
)
def test_the_published_networks_have_their_published_size(
    name: str, shape: tuple[int, int, int], classes: int, parameters: int
) -> None:
    assert count_parameters(build(name, shape, classes)) == parameters


@pytest.mark.parametrize(("name", "millions"), [("resnet_small", 0.08), ("resnet_mid", 1.2)])
def test_our_own_networks_have_the_size_they_say(name: str, millions: float) -> None:
    assert count_parameters(build(name)) / 1e6 == pytest.approx(millions, rel=0.05)
    assert f"{millions} M parameters" in backbones.entry(name).summary


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet_small", CIFAR),
        ("resnet_small", (1, 32, 32)),
        ("resnet_small", (3, 33, 47)),
        ("resnet_mid", CIFAR),
        ("resnet_mid", (1, 28, 28)),
        ("resnet18", CIFAR),
        ("resnet18", (1, 32, 32)),
        ("resnet18", (3, 96, 96)),
        ("resnet18", (1, 96, 96)),
        ("resnet50", CIFAR),
        ("vit_tiny", CIFAR),
        ("vit_tiny", (1, 32, 32)),
        ("vit_tiny:native=true", CIFAR),
        ("vit_tiny:native=true", (1, 28, 28)),
        ("vit_tiny:native=true", (3, 24, 40)),
        ("vit_tiny", (3, 24, 224)),
        ("timm:vit_tiny_patch16_224", (3, 48, 224)),
        ("timm:resnet10t", CIFAR),
        ("timm:resnet10t", (1, 32, 32)),
        ("timm:vit_tiny_patch16_224", (3, 64, 64)),
    ],
)
def test_a_network_in_its_normalisation_answers_with_one_logit_a_class(name: str, shape: tuple[int, int, int]) -> None:
    network = build(name, shape, classes=7)
    usual = ((0.5,) * shape[0], (0.25,) * shape[0])
    model = NormalizedModel(network, *getattr(network, "normalization", usual))

    found = logits(model, shape)

    assert found.shape == (2, 7)
    assert torch.isfinite(found).all()
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize(("size", "stride"), [(64, 1), (65, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_stem_follows_the_size_of_the_images(size: int, stride: int, channels: int) -> None:
    network: Any = build("resnet18", (channels, size, size))

    assert network.conv1.stride == (stride, stride)
    assert network.conv1.in_channels == channels
    assert isinstance(network.maxpool, nn.Identity) == (stride == 1)


def test_vit_sees_small_images_enlarged_and_large_ones_as_they_are() -> None:
    small, large = build("vit_tiny"), build("vit_tiny", (3, 224, 224))

    assert isinstance(small, Resized)
    assert small.size == 224
    assert not isinstance(large, Resized)
    assert small.normalization == large.normalization == (VIT, VIT)


def test_vit_of_native_size_has_patches_of_four_pixels() -> None:
    network: Any = build("vit_tiny:native=true")

    assert network.patch_embed.proj.weight.shape[2:] == (4, 4)
    assert network.patch_embed.num_patches == 64
    assert not hasattr(network, "normalization")


def test_resizing_keeps_a_constant_image() -> None:
    network = Resized(nn.Identity(), 8)

    torch.testing.assert_close(network(torch.full((1, 2, 3, 5), 0.3)), torch.full((1, 2, 8, 8), 0.3))


def test_the_initial_weights_follow_the_random_state() -> None:
    networks = []
    for seed in (0, 0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            networks.append(build("resnet_small").state_dict()["stem.0.weight"])

    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet19", "resnet18"), ("vit_tiny_patch16_225", "vit_tiny_patch16_224"), ("Resnet50", "resnet50")],
)
def test_a_network_that_timm_does_not_know_is_answered_with_near_names(name: str, near: str) -> None:
    with pytest.raises(UserError) as error:
        build(f"timm:{name}")

    assert f"timm knows no network {name!r}" in str(error.value)
    assert near in str(error.value)


def test_a_network_near_nothing_says_where_all_are_listed() -> None:
    with pytest.raises(UserError, match=r"Near: none; all: timm.list_models\(\)"):
        build("timm:0000")


def test_an_unknown_tag_of_a_timm_network_is_refused() -> None:
    with pytest.raises(UserError, match="Invalid pretrained tag"):
        build("timm:resnet18.nobody_in1k")


def test_timm_needs_a_name() -> None:
    with pytest.raises(UserError, match="needs 'name'"):
        build("timm")


@pytest.mark.parametrize("name", ["resnet_small", "resnet_mid"])
def test_our_own_networks_have_no_pretrained_weights(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} has no pretrained weights; drop pretrained=true"):
        build(f"{name}:pretrained=true")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("resnet18", "the pretrained weights of resnet18 could not be loaded"),
        ("resnet50", "the pretrained weights of resnet50 could not be loaded"),
        ("vit_tiny", "pretrained weights of vit_tiny_patch16_224"),
        ("timm:resnet10t", "pretrained weights of resnet10t"),
    ],
)
def test_pretrained_weights_out_of_reach_are_one_clear_line(name: str, what: str) -> None:
    with pytest.raises(UserError) as error:
        build(f"{name}{',' if ':' in name else ':'}pretrained=true", (3, 224, 224))

    assert what in str(error.value)
    assert "no network" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [CIFAR, (1, 224, 224)])
def test_weights_for_other_images_are_refused_before_a_download(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="is pretrained on 3-channel ImageNet images, got images of shape"):
        build("resnet18:pretrained=true", shape)


def test_a_network_from_scratch_cannot_be_pretrained() -> None:
    with pytest.raises(UserError, match="has no pretrained weights"):
        build("vit_tiny:native=true,pretrained=true")


def test_a_pretrained_network_brings_its_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **options: create(name, **options))

    color: Any = build("timm:resnet10t,pretrained=true", (3, 176, 176))
    gray: Any = build("timm:resnet10t,pretrained=true", (1, 176, 176))

    assert color.normalization == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert gray.normalization == (pytest.approx((0.449,)), pytest.approx((0.226,)))
    assert logits(NormalizedModel(gray, *gray.normalization), (1, 64, 64)).shape == (2, 10)
