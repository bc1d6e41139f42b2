"""Natural corruptions: the official files where the user has them, else made on the fly by the same constants."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from harness import corruptions
from harness.contracts.dataset import as_float
from harness.errors import UserError
from harness.registry import suites
from harness.suites.base import Suite, SuiteContext
from harness.types import Condition

WITH_JPEG = f"generated, then JPEG of quality {corruptions.JPEG_QUALITY}"
WITHOUT_JPEG = "generated, without JPEG"
"""Where generated images above 64 pixels are from, as captions say it."""


@suites.register("corruption")
class CorruptionSuite(Suite):
    """Noise, blur, weather and digital corruptions at severities 1 to 5.

    The run's `corruptions` say which: none for the paper's Gaussian, shot and impulse noise, "all" for every one.
    severities: a larger one corrupts more. noise_seed: what generated corruptions are drawn from; models of every
    seed are scored on the same images, as with the official files. jpeg: whether generated corruptions of images above
    64 pixels go through JPEG afterwards, as the files of ImageNet-C did; CIFAR-C's, which are arrays, never do.
    """

    def __init__(
        self, *, severities: tuple[int, ...] = (1, 2, 3, 4, 5), noise_seed: int = 0, jpeg: bool = True
    ) -> None:
        for severity in severities:
            corruptions.check_severity(severity)
        if noise_seed < 0:
            raise UserError(f"noise_seed of corruption must be 0 or more, got {noise_seed}.")
        self.severities = severities
        self.noise_seed = noise_seed
        self.jpeg = jpeg

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """Corruption by corruption, severity by severity; no image is decoded or made here.

        Raises: UserError for a name nobody registered, or official files that do not fit the test split.
        """
        return [
            self._condition(name, severity, context)
            for name in corruptions.choose(context.corruptions)
            for severity in dict.fromkeys(self.severities)
        ]

    def perturb(
        self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module | None
    ) -> torch.Tensor:
        """The corrupted images of `rows` [B,C,H,W] float32 in [0,1], of 256 levels as in the published files."""
        name, severity = condition.name, condition.parameters["severity"]
        indices = context.split.indices[rows]
        if condition.source == "official":
            return as_float(_official(name, severity, indices, context))
        images = context.split.images[rows]
        corrupted = corruptions.corrupt(images, name, severity, seed=self.noise_seed, indices=indices, jpeg=self.jpeg)
        return as_float(corrupted)

    def _condition(self, name: str, severity: int, context: SuiteContext) -> Condition:
        identity = {"corruption": name, "severity": severity}
        fingerprint = context.dataset.official(name, severity)
        if fingerprint is not None:
            identity |= {"source": "official", "fingerprint": fingerprint}
            return Condition(name, severity, identity, source="official")
        set_name = corruptions.constants_set(*context.split.images.shape[2:])
        corruption = corruptions.get(name)
        identity |= {
            "source": "generated",
            "set": set_name,
            "constants": list(corruption.constants(set_name, severity)),
            "noise_seed": self.noise_seed,
        }
        if corruption.version > 1:  # not mentioned by older records
            identity["version"] = corruption.version
        if set_name == "cifar":
            return Condition(name, severity, identity, source="generated")
        identity["jpeg"] = corruptions.JPEG_QUALITY if self.jpeg else None
        return Condition(name, severity, identity, source=WITH_JPEG if self.jpeg else WITHOUT_JPEG)


def _official(name: str, severity: int, indices: np.ndarray, context: SuiteContext) -> np.ndarray:
    """The official images at these places [B,C,H,W] uint8. Raises: UserError when they are of another form."""
    images = context.dataset.corrupted(name, severity, indices)
    expected = (len(indices), *context.split.images.shape[1:])
    if images.shape != expected:
        raise UserError(
            f"the official images of {name}, severity {severity}, have shape {list(images.shape)}; expected "
            f"{list(expected)}. Remove or replace the file."
        )
    return images
