"""Which recipe a backbone is usually trained with."""

from __future__ import annotations

from harness.registry import backbones
from harness.spec import Spec
from harness.types import Preset, Recipe

LEARNING_RATE = 0.1
FINE_TUNING_RATE = 0.01
"""For pretrained networks."""


def usual_recipe(preset: Preset, backbone: str) -> Recipe:
    """The optimisation a backbone, given by its label, is usually trained with.

    paper: 160 epochs as in the paper's Fig. 2, the learning rate divided by ten at half and at three quarters; what the
    paper leaves unstated follows He et al. 2016. quick: 12 epochs, one rise and fall of the learning rate. A backbone
    says its own learning rate where the usual one is too high for it.
    """
    own: float = getattr(backbones.entry(Spec.parse(backbone).name).factory, "learning_rate", LEARNING_RATE)
    rate = min(own, FINE_TUNING_RATE) if backbones.parameters(backbone).get("pretrained") else own
    if preset == "paper":
        return Recipe(epochs=160, learning_rate=rate, schedule="multi_step")
    return Recipe(epochs=12, learning_rate=2 * rate)
