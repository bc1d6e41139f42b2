"""Which recipe a backbone is trained with, and which backbone a data set is run on, when the user names none."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cache import ArrayCache
from harness.contracts.dataset import Dataset
from harness.registry import datasets
from harness.training.recipes import usual_recipe


@pytest.mark.parametrize(
    ("preset", "size", "backbone"),
    [
        ("quick", 32, "resnet_mid"),
        ("paper", 32, "resnet18"),
        ("quick", 224, "resnet50"),
        ("paper", 65, "resnet50"),
    ],
)
def test_a_backbone_is_chosen_by_image_size_and_preset(preset: Any, size: int, backbone: str) -> None:
    class Sized(Dataset):
        image_shape = (3, size, size)

    assert Sized().usual_backbone(preset) == backbone


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_shapes_are_run_on_the_smallest_network(preset: Any, tmp_path: Any) -> None:
    shapes = datasets.create("shapes:seed=1", data_root=tmp_path, cache=ArrayCache(tmp_path))
    assert shapes.usual_backbone(preset) == "resnet_small"


def test_the_paper_preset_trains_as_its_figure_says() -> None:
    recipe = usual_recipe("paper", "resnet18")

    assert (recipe.epochs, recipe.schedule, recipe.milestones) == (160, "multi_step", (0.5, 0.75))
    assert recipe.learning_rate == 0.1
    assert usual_recipe("quick", "resnet18").epochs == 12


@pytest.mark.parametrize(
    "backbone", ["vit_tiny", "vit_tiny:native=true", "timm:name=resnet18", "resnet50:pretrained=true"]
)
@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_transformers_and_pretrained_networks_start_gently(preset: Any, backbone: str) -> None:
    usual = usual_recipe(preset, "resnet50").learning_rate

    assert usual_recipe(preset, backbone).learning_rate == pytest.approx(usual / 10)
