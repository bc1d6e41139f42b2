"""`DefendedModel`: a network under a defense, ready to be scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from harness.models.checkpoints import weights_digest
from harness.registry import backbones, defenses, preprocessors

if TYPE_CHECKING:
    from harness.contracts.defense import Defense, Preprocessor


@dataclasses.dataclass(frozen=True, kw_only=True)
class DefendedModel:
    """A trained network, its defense, and what preprocesses its test images."""

    label: str
    """The defense as tables show it; for a kept checkpoint with its tag; for a zoo's model, its name there."""
    defense: Defense
    seed: int
    model: nn.Module
    """Images [B,C,H,W] in [0,1] in, logits out; in evaluation mode, no parameter asks for a gradient."""
    digest: str
    """Of the weights."""
    backbone: str
    preprocessor: Preprocessor
    """What is done to test images in the scores with preprocessing."""
    path: Path
    """Of the checkpoint."""
    trained: Mapping[str, Any]
    """What the checkpoint says of its training."""
    code: Mapping[str, str]
    """Versions of the code that computes its predictions."""

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        label: str,
        defense: Defense,
        seed: int,
        backbone: str,
        preprocessor: Preprocessor,
        path: Path,
        trained: Mapping[str, Any],
        backbone_code: str | None = None,
    ) -> DefendedModel:
        """A trained model, put into evaluation mode. backbone_code: its version, where no backbone of ours made it."""
        return cls(
            label=label,
            defense=defense,
            seed=seed,
            model=model.eval().requires_grad_(False),
            digest=weights_digest(model),
            backbone=backbone,
            preprocessor=preprocessor.eval(),
            path=path,
            trained=trained,
            code={
                "backbone": backbone_code or backbones.fingerprint(backbone),
                "defense": defenses.fingerprint(defense.label),
                "preprocess": preprocessors.fingerprint(preprocessor.label),
            },
        )
