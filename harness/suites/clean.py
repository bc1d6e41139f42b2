"""The test images as they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from harness.contracts.dataset import as_float
from harness.registry import suites
from harness.suites.base import Suite, SuiteContext
from harness.types import Condition


@suites.register("clean")
class Clean(Suite):
    """Unperturbed test images."""

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """The one condition there is."""
        return [Condition("clean")]

    def perturb(
        self, rows: np.ndarray, condition: Condition, context: SuiteContext, model: nn.Module | None
    ) -> torch.Tensor:
        """The images of `rows` [B,C,H,W] float32 in [0,1]."""
        return clean_images(rows, context)


def clean_images(rows: np.ndarray, context: SuiteContext) -> torch.Tensor:
    """The unperturbed test images of `rows`, [B,C,H,W] float32 in [0,1], on the CPU."""
    return as_float(context.split.images[rows])
