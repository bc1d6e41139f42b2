"""The losses that attacks raise: one number an image, larger the nearer the model is to a mistake."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from harness.errors import UserError

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""logits [B,K], labels [B] → [B]"""
TargetedLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""logits [B,K], labels [B], target classes [B] → [B]"""
_TINY = 1e-12


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """−log of the true class's probability."""
    return functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The largest wrong logit minus the true one (Carlini & Wagner 2017); above 0 exactly where the model is wrong."""
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - _logit_of(logits, labels)


def dlr(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The margin over the spread of the first three logits (difference of logits ratio, Croce & Hein 2020).

    Scaling the logits does not change it, whereas it can make the cross-entropy's gradient vanish.
    Raises: UserError for fewer than three classes.
    """
    first, _, third = _largest_logits(logits, 3, "dlr")
    return margin(logits, labels) / (first - third + _TINY)


def targeted_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The log-probability of the target class."""
    return -functional.cross_entropy(logits, targets, reduction="none")


def targeted_dlr(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The target's logit minus the true one, over a spread that depends on neither (Croce & Hein 2020).

    Raises: UserError for fewer than four classes.
    """
    first, _, third, fourth = _largest_logits(logits, 4, "targeted dlr")
    return (_logit_of(logits, targets) - _logit_of(logits, labels)) / (first - (third + fourth) / 2 + _TINY)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "dlr": dlr, "margin": margin}
TARGETED: dict[str, TargetedLoss] = {"ce": targeted_cross_entropy, "dlr": targeted_dlr}
LEAST_CLASSES = {"dlr": 3}
"""Classes that a loss needs; 2 where it does not say."""
LEAST_CLASSES_TARGETED = {"dlr": 4}
"""The same for a loss that aims at a class."""


def _logit_of(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _largest_logits(logits: torch.Tensor, count: int, name: str) -> tuple[torch.Tensor, ...]:
    if logits.shape[1] < count:
        raise UserError(f"the loss {name} needs {count} classes or more, the model has {logits.shape[1]}. Use ce.")
    return logits.topk(count, dim=1).values.unbind(1)
