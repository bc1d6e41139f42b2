"""What smoothing and training do to spatial frequencies: the paper's Figure 2."""

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

from .base import Explanation, Held, Material, described, digest_of_images

BATCH = 256


@exhibits.register("frequency_parts")
class FrequencyParts(Explanation):
    """Low and high frequencies of test images apart (Fig. 2 a).

    radius: in periods per image; a larger one moves more of the image into the low part · count: images
    """

    def __init__(self, *, radius: float = HEADLINE_RADIUS, count: int = 4) -> None:
        if not radius > 0 or count < 1:
            raise UserError(f"radius must be above 0 and count 1 or more, got {radius:g} and {count}.")
        self.radius = radius
        self.count = count

    def sources(self, material: Material) -> dict[str, Any]:
        """The images."""
        return {"images": digest_of_images(*material.samples(self.count))}

    def compute(self, material: Material) -> Exhibit:
        """originals [N,C,H,W] uint8; low, high [N,C,H,W] float32, which sum to the images in [0,1]."""
        chosen = material.samples(self.count)
        images = as_float(chosen.images)
        low, high = (frequency_part(images, part=part, radius=self.radius).numpy() for part in ("low", "high"))
        names = material.class_names(chosen.labels)
        return Exhibit(
            self.name,
            {"originals": chosen.images, "low": low, "high": high},
            {"radius": self.radius, "names": names, "dataset": material.opened.name},
        )


@exhibits.register("feature_spectra")
class FeatureSpectra(Explanation):
    """Spectra of the first convolution's feature maps while training goes on (Fig. 2 b), from kept checkpoints."""

    def sources(self, material: Material) -> dict[str, Any]:
        """The images and weights."""
        split = material.test_images()
        held = in_training(material)
        return {"images": digest_of_images(split.images, split.indices), "weights": [one.digest for one in held]}

    def compute(self, material: Material) -> Exhibit:
        """spectra [K,h,w] float64, zero frequency in the middle: mean of log(1 + |F|) over images and feature maps."""
        held = in_training(material)
        split = material.test_images()
        spectra = [
            _mean_spectrum(one.network(material.device), split.images, material.device)
            for one in track(held, "feature spectra")
        ]
        about = {"models": described(held), "images": len(split), "dataset": material.opened.name}
        return Exhibit(self.name, {"spectra": np.stack(spectra)}, about)


def in_training(material: Material) -> list[Held]:
    """The checkpoints of every defense that kept some on the way, and of the undefended one: once for each epoch.

    By defense, then epoch; what a training came to is its last. Raises: UserError when none was kept.
    """
    if all(one.final for one in material.checkpoints):
        raise UserError(
            f"no checkpoints of {material.run} were kept on the way: train virolbi_iterative, which keeps one for each "
            "level, or any defense with --keep-epochs 1,6,12."
        )
    everything = sorted(material.checkpoints, key=lambda one: (one.defense, str(one.about["backbone"]), one.final))
    kept = {one.defense for one in everything if not one.final} | {UNDEFENDED}
    by_epoch = {(one.defense, one.about["backbone"], one.epoch): one for one in everything if one.defense in kept}
    return sorted(by_epoch.values(), key=lambda one: (one.defense, str(one.about["backbone"]), one.epoch or 0))


def amplitude(images: np.ndarray) -> np.ndarray:
    """|F| of images [...,H,W], the discrete Fourier transform without normalisation, zero frequency in the middle."""
    return np.abs(np.fft.fftshift(np.fft.fft2(images.astype(np.float64)), axes=(-2, -1)))


def _mean_spectrum(model: nn.Module, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Mean log spectrum [h,w] of the feature maps of a model's first convolution. Raises: UserError without any."""
    total, count = np.zeros(()), 0
    for start in range(0, len(images), BATCH):
        maps = _first_maps(model, as_float(images[start : start + BATCH]).to(device))
        total = total + np.log1p(amplitude(maps)).mean(1).sum(0)
        count += len(maps)
    return total / count


def _first_maps(model: nn.Module, batch: torch.Tensor) -> np.ndarray:
    """What the first convolution of the network makes of a batch, [B,F,h,w]."""
    seen: list[torch.Tensor] = []
    network = inner_normalization(model).network
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not convolutions:
        raise UserError("feature_spectra needs a network with a convolution, found none.")
    handle = convolutions[0].register_forward_hook(lambda module, given, made: seen.append(made))
    try:
        with torch.no_grad():
            model(batch)
    finally:
        handle.remove()
    return seen[0].float().cpu().numpy()
