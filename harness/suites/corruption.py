"""Natural corruptions: the official files where the user has them, else made on the fly by the same constants."""

from __future__ import annotations

import hashlib
from typing import Protocol, cast

import numpy as np
import torch
from torch import nn

from harness import corruptions
from harness.errors import UserError
from harness.registry import suites
from harness.suites.base import Suite, SuiteContext
from harness.suites.clean import as_float
from harness.types import Condition

_SAMPLED = 16
"""How many images of an official file its fingerprint is taken over."""


class _MayHoldOfficial(Protocol):
    """The part of `datasets.base.Dataset` that this suite asks."""

    def corrupted(self, corruption: str, severity: int) -> np.ndarray | None: ...


@suites.register("corruption")
class CorruptionSuite(Suite):
    """Noise, blur, weather and digital corruptions at severities 1 to 5.

    The run's `corruptions` say which: none for the paper's Gaussian, shot and impulse noise, "all" for every one.
    severities: a larger one corrupts more. noise_seed: what generated corruptions are drawn from; models of every
    seed are scored on the same images, as with the official files.
    """

    def __init__(self, *, severities: tuple[int, ...] = (1, 2, 3, 4, 5), noise_seed: int = 0) -> None:
        for severity in severities:
            corruptions.check_severity(severity)
        if noise_seed < 0:
            raise UserError(f"noise_seed of corruption must be 0 or more, got {noise_seed}.")
        self.severities = severities
        self.noise_seed = noise_seed

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """Corruption by corruption, severity by severity. Raises: UserError for a name nobody registered."""
        return [
            self._condition(name, severity, context)
            for name in corruptions.choose(context.corruptions)
            for severity in dict.fromkeys(self.severities)
        ]

    def disturb(
        self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module | None
    ) -> torch.Tensor:
        """The corrupted images of `rows` [B,C,H,W] float32 in [0,1], of 256 levels as in the published files."""
        name, severity = condition.name, condition.parameters["severity"]
        indices = context.split.indices[rows]
        if condition.source == "official":
            official = _official(name, severity, context)
            if official is None:
                raise UserError(f"the official images of {name}, severity {severity}, were there and are gone.")
            return as_float(official[indices])
        images = context.split.images[rows]
        return as_float(corruptions.corrupt(images, name, severity, seed=self.noise_seed, indices=indices))

    def _condition(self, name: str, severity: int, context: SuiteContext) -> Condition:
        identity = {"corruption": name, "severity": severity}
        official = _official(name, severity, context)
        if official is not None:
            identity |= {"source": "official", "fingerprint": _fingerprint(official)}
            return Condition(name, severity, identity, source="official")
        chosen = corruptions.constants_set(*context.split.images.shape[2:])
        constants = corruptions.get(name).constants(chosen, severity)
        identity |= {
            "source": "generated",
            "set": chosen,
            "constants": list(constants),
            "noise_seed": self.noise_seed,
        }
        return Condition(name, severity, identity, source="generated")


def _official(name: str, severity: int, context: SuiteContext) -> np.ndarray | None:
    """All official images of one condition [N,C,H,W] uint8, or None. Raises: UserError when they do not fit."""
    official = cast(_MayHoldOfficial, context.dataset).corrupted(name, severity)
    if official is None:
        return None
    split = context.split
    fits = official.shape[1:] == split.images.shape[1:] and split.indices.max(initial=-1) < len(official)
    if not fits:
        raise UserError(
            f"the official images of {name}, severity {severity}, have shape {list(official.shape)}; expected one "
            f"of {list(split.images.shape[1:])} for each test image. Remove or replace the file."
        )
    return official


def _fingerprint(official: np.ndarray) -> str:
    """A digest of the shape and of some images spread over the file: enough to notice another file."""
    digest = hashlib.sha256(repr(official.shape).encode())
    for row in np.unique(np.linspace(0, len(official) - 1, _SAMPLED).astype(int)):
        digest.update(np.ascontiguousarray(official[row]).tobytes())
    return digest.hexdigest()
