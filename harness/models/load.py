"""Trained defenses as plain modules, for any other tool."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from harness.config import PREPROCESSOR, usual_level
from harness.contracts.model import Pipeline
from harness.errors import UserError
from harness.models import checkpoints
from harness.models.build import Architecture
from harness.models.sources import restored
from harness.registry import defenses, preprocessors

OWN = "own"


def load(path: str | Path, *, preprocess: str | None = None, device: torch.device | str = "cpu") -> nn.Module:
    """A checkpoint of this harness as one module: images [B,C,H,W] in [0,1] in, logits [B,classes] out.

    preprocess: None for the network alone; `own` for what its defense does to test images, or the name of any
    preprocessor, `virolbi:nu=16,level=0.5`, to put in front of it. The module is differentiable, by the preprocessor's
    usual surrogate gradient where it has no derivative. It is in evaluation mode; no parameter asks for a gradient.

    >>> model = harness.load("runs/default/checkpoints/….pt", preprocess="own")  # doctest: +SKIP

    A defense of a plugin must be known first: `harness.registry.load_plugin(FILE)`.
    Raises: UserError for a file that is no checkpoint or does not say what it holds, and for unknown names.
    """
    checkpoint = checkpoints.load(Path(path))
    metadata = checkpoint.metadata
    missing = [key for key in ("defense", "backbone", "classes", "image_shape") if key not in metadata]
    if missing:
        raise UserError(
            f"the checkpoint {path} does not say what it holds ({', '.join(missing)} missing). "
            "harness.load reads checkpoints that this harness wrote; give others to run --checkpoint."
        )
    defense = defenses.create(metadata["defense"])
    model = restored(checkpoint, Path(path), Architecture.recorded(metadata), defense)
    if preprocess is not None:
        level = usual_level(max(metadata["image_shape"][1:]))
        usual = preprocessors.canonical(PREPROCESSOR, level=level)
        name = defense.preprocess(usual) if preprocess == OWN else preprocessors.canonical(preprocess, level=level)
        model = Pipeline(preprocessors.create(name), model)
    return model.to(device).eval().requires_grad_(False)
