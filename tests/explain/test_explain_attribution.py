"""Attributions: against hand computation, by what must hold of them, and on every kind of network there is."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.contracts.model import NormalizedModel
from harness.errors import UserError
from harness.explain.attribution import grad_cam, relevance, relevance_method
from harness.registry import backbones, defenses

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 2])
VIT = "vit_tiny:native=true"


def network(name: str = "resnet_small", defense: str = "vanilla") -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inner = backbones.create(name, classes=3, image_shape=(3, 16, 16))
        protected = defenses.create(defense)
        model = protected.protect(NormalizedModel(inner, (0.5,) * 3, (0.25,) * 3)).eval().requires_grad_(False)
    protected.reseed(model, 0)
    return model


def logits_of_targets(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return model(images).gather(1, TARGETS[:, None])[:, 0]


def test_grad_cam_is_what_its_formula_gives_by_hand() -> None:
    torch.manual_seed(0)
    convolution, head = nn.Conv2d(3, 5, 3, padding=1), nn.Linear(5, 3)
    layers = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    model = NormalizedModel(layers, (0.0,) * 3, (1.0,) * 3).eval().requires_grad_(False)

    result = grad_cam(model, IMAGES, TARGETS)

    maps = functional.relu(convolution(IMAGES))
    weights = head.weight[TARGETS] / 256  # the gradient of a mean over 16×16 places
    expected = functional.relu((weights[:, :, None, None] * maps).sum(1))
    assert expected.max() > 0
    torch.testing.assert_close(result, expected)


def test_grad_cam_of_a_transformer_weighs_its_patches_by_their_mean_gradient() -> None:
    model = network(VIT)
    seen: list[torch.Tensor] = []
    handle = model.network.blocks[-1].norm1.register_forward_hook(lambda module, given, made: seen.append(made))
    logit = logits_of_targets(model, IMAGES.clone().requires_grad_()).sum()
    (gradient,) = torch.autograd.grad(logit, seen[0])
    handle.remove()
    patches = (gradient[:, 1:].mean(1, keepdim=True) * seen[0][:, 1:]).sum(2).detach()
    expected = functional.interpolate(functional.relu(patches).view(2, 1, 4, 4), (16, 16), mode="bilinear")[:, 0]

    torch.testing.assert_close(grad_cam(model, IMAGES, TARGETS), expected)


@pytest.mark.parametrize("name", ["resnet_small", "resnet18"])
def test_without_biases_all_relevance_of_a_logit_arrives_at_the_image(name: str) -> None:
    model = network(name)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    maps = relevance(model, IMAGES, TARGETS)

    assert maps.shape == (2, 16, 16)
    torch.testing.assert_close(maps.sum((1, 2)), logits_of_targets(model, IMAGES), rtol=1e-3, atol=1e-4)


def test_relevance_of_what_has_no_rules_sums_to_the_change_from_black() -> None:
    model = network(VIT)

    maps = relevance(model, IMAGES, TARGETS).sum((1, 2))

    change = logits_of_targets(model, IMAGES) - logits_of_targets(model, torch.zeros_like(IMAGES))
    torch.testing.assert_close(maps, change, rtol=0.05, atol=0.01)


def test_rules_are_used_where_they_are_known() -> None:
    assert [relevance_method(network(name)) for name in ("resnet_small", "resnet18")] == ["LRP", "LRP"]
    assert relevance_method(network(VIT)) == "integrated gradients"
    assert relevance_method(network(defense="pni")) == "integrated gradients"


@pytest.mark.parametrize(
    ("name", "defense"),
    [("resnet_small", "vanilla"), ("resnet_small", "tv_layer"), ("resnet18", "pni"), (VIT, "vanilla")],
)
def test_attributions_are_the_same_twice_and_leave_the_model_as_it_was(name: str, defense: str) -> None:
    first, again = network(name, defense), network(name, defense)

    for explained in (grad_cam, relevance):
        maps = explained(first, IMAGES, TARGETS)
        assert maps.shape == (2, 16, 16)
        assert torch.isfinite(maps).all()
        assert torch.equal(maps, explained(again, IMAGES, TARGETS))

    untouched = network(name, defense)
    assert first.state_dict().keys() == untouched.state_dict().keys()
    defenses.create(defense).reseed(first, 1)
    defenses.create(defense).reseed(untouched, 1)
    assert torch.equal(first(IMAGES), untouched(IMAGES))


def test_a_network_without_maps_is_refused_by_name() -> None:
    flat = NormalizedModel(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), (0.0,) * 3, (1.0,) * 3).eval()

    with pytest.raises(UserError, match="convolutional networks and timm's VisionTransformer, got Sequential"):
        grad_cam(flat, IMAGES, TARGETS)


def test_without_the_libraries_one_line_says_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)

    with pytest.raises(UserError, match=r"Captum and Zennit, which are not installed .* pip install captum zennit"):
        grad_cam(network(), IMAGES, TARGETS)
