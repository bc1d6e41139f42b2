"""Spatial frequencies of images, and of feature maps during training: the paper's Figure 2 (a) and (b)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from harness.config import UNDEFENDED
from harness.contracts.dataset import as_float
from harness.contracts.model import inner_normalization
from harness.errors import UserError
from harness.progress import track
from harness.records.exhibits import Exhibit
from harness.registry import exhibits
from harness.suites.frequency import HEADLINE_RADIUS, frequency_part

from .base import ExplainContext, ExplainedModel, Explanation, described, digest_of_images

BATCH = 256


@exhibits.register("frequency_parts")
class FrequencyParts(Explanation):
    """Low and high frequencies of test images apart (Fig. 2 a).

    Args:
        radius: in periods per image; a larger one moves more of the image into the low part.
        count: how many images.
    """

    def __init__(self, *, radius: float = HEADLINE_RADIUS, count: int = 4) -> None:
        if not radius > 0 or count < 1:
            raise UserError(f"radius must be above 0 and count 1 or more, got {radius:g} and {count}.")
        self.radius = radius
        self.count = count

    def sources(self, context: ExplainContext) -> dict[str, Any]:
        """A digest of the images."""
        return {"images": digest_of_images(*context.samples(self.count))}

    def compute(self, context: ExplainContext) -> Exhibit:
        """originals [N,C,H,W] uint8; low, high [N,C,H,W] float32, which sum to the images in [0,1]."""
        samples = context.samples(self.count)
        images = as_float(samples.images)
        low, high = (frequency_part(images, part=part, radius=self.radius).numpy() for part in ("low", "high"))
        names = context.class_names(samples.labels)
        return Exhibit(
            self.name,
            {"originals": samples.images, "low": low, "high": high},
            {"radius": self.radius, "names": names, "dataset": context.opened.name},
        )


@exhibits.register("feature_spectra")
class FeatureSpectra(Explanation):
    """Spectra of the first convolution's feature maps during training (Fig. 2 b), from kept checkpoints."""

    def sources(self, context: ExplainContext) -> dict[str, Any]:
        """Digests of the images and weights."""
        split = context.test_images()
        weights = [model.digest for model in in_training(context)]
        return {"images": digest_of_images(split.images, split.indices), "weights": weights}

    def compute(self, context: ExplainContext) -> Exhibit:
        """spectra [K,h,w] float64, zero frequency in the middle: mean of log(1 + |F|) over images and feature maps."""
        models = in_training(context)
        split = context.test_images()
        spectra = [
            _mean_spectrum(model.network(context.device), split.images, context.device)
            for model in track(models, "feature spectra")
        ]
        metadata = {"models": described(models), "images": len(split), "dataset": context.opened.name}
        return Exhibit(self.name, {"spectra": np.stack(spectra)}, metadata)


def in_training(context: ExplainContext) -> list[ExplainedModel]:
    """The checkpoints of the undefended model and of every defense with checkpoints from during its training.

    One for each epoch, in the order of defense, backbone and epoch. Raises: UserError when none was kept.
    """
    if all(model.final for model in context.checkpoints):
        raise UserError(
            f"no checkpoints of {context.run} were kept during training: train virolbi_iterative, which keeps one for "
            "each level, or any defense with --keep-epochs 1,6,12."
        )
    kept = {model.defense for model in context.checkpoints if not model.final} | {UNDEFENDED}
    by_epoch = {
        (model.defense, model.backbone, model.epoch or 0): model
        for model in sorted(context.checkpoints, key=lambda model: model.final)  # of one epoch the final one counts
        if model.defense in kept
    }
    return [by_epoch[place] for place in sorted(by_epoch)]


def amplitude(images: np.ndarray) -> np.ndarray:
    """|F| of images [...,H,W], the discrete Fourier transform without normalisation, zero frequency in the middle."""
    return np.abs(np.fft.fftshift(np.fft.fft2(images.astype(np.float64)), axes=(-2, -1)))


def _mean_spectrum(model: nn.Module, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Mean log spectrum [h,w] of the feature maps of a model's first convolution. Raises: UserError without one."""
    total, count = np.zeros(()), 0
    for start in range(0, len(images), BATCH):
        maps = _first_maps(model, as_float(images[start : start + BATCH]).to(device))
        total = total + np.log1p(amplitude(maps)).mean(1).sum(0)
        count += len(maps)
    return total / count


def _first_maps(model: nn.Module, batch: torch.Tensor) -> np.ndarray:
    """The output of the network's first convolution for a batch, [B,F,h,w]."""
    outputs: list[torch.Tensor] = []
    network = inner_normalization(model).network
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not convolutions:
        raise UserError("feature_spectra needs a network with a convolution, got none.")
    handle = convolutions[0].register_forward_hook(lambda module, given, made: outputs.append(made))
    try:
        with torch.no_grad():
            model(batch)
    finally:
        handle.remove()
    return outputs[0].float().cpu().numpy()
