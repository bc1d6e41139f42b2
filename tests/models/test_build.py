"""A model that cannot be built is refused in one line that says why."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from harness.contracts.defense import Defense
from harness.errors import UserError
from harness.models.build import Architecture, build
from harness.registry import backbones, defenses

ARCHITECTURE = Architecture(
    backbone="theirs", classes=("a", "b"), image_shape=(3, 8, 8), mean=(0.5,) * 3, std=(0.5,) * 3
)


class Failing(Defense):
    """Fails to protect."""

    label = "failing"

    def protect(self, model: nn.Module) -> nn.Module:
        raise KeyError("no such\nlayer")


def _raise(error: BaseException) -> nn.Module:
    raise error


def _normalised(value: object) -> nn.Module:
    network = nn.Linear(2, 2)
    network.normalization = value
    return network


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a mistake": (
        lambda: _raise(TypeError("no\nsuch width")),
        r"could not be made: TypeError: no \(test_build.py:\d+\)",
    ),
    "an exit": (lambda: sys.exit(3), "could not be made: SystemExit: 3"),
    "no numbers": (lambda: nn.Linear(2, 2, device="meta"), "network.weight has no numbers yet"),
    "numbers at the first image": (lambda: nn.LazyLinear(2), "network.weight has no numbers yet"),
    "no normalisation": (lambda: _normalised("imagenet"), "cannot be built: "),
    "half of one": (lambda: _normalised(((0.5,),)), "cannot be built: "),
}


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(("make", "message"), NETWORKS.values(), ids=NETWORKS.keys())
def test_a_network_that_cannot_be_built_is_named(make: Callable[[], nn.Module], message: str, register) -> None:
    register(backbones, "theirs", lambda *, classes, image_shape: make())
    with pytest.raises(UserError, match=f"backbone .?theirs.*{message}") as error:
        build(ARCHITECTURE, defenses.create("vanilla"))
    assert "\n" not in str(error.value)


def test_a_defense_that_cannot_protect_is_named(register) -> None:
    register(backbones, "theirs", lambda *, classes, image_shape: nn.Linear(2, 2))
    with pytest.raises(UserError, match="failing with the backbone theirs: the model cannot be built: KeyError"):
        build(ARCHITECTURE, Failing())


def test_building_leaves_the_random_numbers_alone(register) -> None:
    register(backbones, "theirs", lambda *, classes, image_shape: nn.Linear(2, 2))
    before = torch.random.get_rng_state()
    first, second = (build(ARCHITECTURE, defenses.create("vanilla"), seed=3) for _ in range(2))

    assert torch.equal(first.network.weight, second.network.weight)
    assert torch.equal(torch.random.get_rng_state(), before)
