"""Attributions in plain, blurred and smoothed images, and during training: Figures 1 (b), 3 and 5."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from harness.config import PREPROCESSOR, usual_level
from harness.contracts.dataset import as_float
from harness.contracts.defense import Preprocessed
from harness.errors import UserError
from harness.progress import track
from harness.records.exhibits import Exhibit
from harness.registry import exhibits, preprocessors
from harness.suites.frequency import HEADLINE_RADIUS, frequency_part

from .attribution import grad_cam, library_versions, relevance, relevance_method
from .base import ExplainContext, ExplainedModel, Explanation, as_bytes, described, digest_of_images
from .frequency import in_training


class Variant(NamedTuple):
    """One variant of the samples."""

    name: str
    images: torch.Tensor
    """[N,C,H,W] float32; outside [0,1] too where frequencies were removed."""


class Attribution(Explanation):
    """Maps of what adds to the logit of the true class, for `count` test images."""

    def __init__(self, *, count: int = 4) -> None:
        if count < 1:
            raise UserError(f"count must be 1 or more images, got {count}.")
        self.count = count

    def models(self, context: ExplainContext) -> list[ExplainedModel]:
        """The models that are explained. Raises: UserError."""
        return context.finals

    def variants(self, images: torch.Tensor) -> list[Variant]:
        """The variants of the samples that a model classifies."""
        return [Variant("original", images)]

    def attribute(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Maps [N,H,W] of float images [N,C,H,W]."""
        raise NotImplementedError

    def method(self, model: nn.Module) -> str:
        """The method that makes the maps of this model."""
        return "Grad-CAM"

    def sources(self, context: ExplainContext) -> dict[str, Any]:
        """Digests of the images and weights, and the versions of smoothing and of the libraries."""
        return {
            "images": digest_of_images(*context.samples(self.count)),
            "weights": [model.digest for model in self.models(context)],
            "smoothing": preprocessors.fingerprint(PREPROCESSOR),
            "libraries": library_versions(),
        }

    def compute(self, context: ExplainContext) -> Exhibit:
        """images [V,N,C,H,W] uint8; of M models maps [M,V,N,H,W] float32 and predicted classes [M,V,N] int64."""
        samples = context.samples(self.count)
        variants = self.variants(as_float(samples.images))
        inputs = [variant.images.to(context.device) for variant in variants]
        targets = torch.from_numpy(samples.labels.astype(np.int64)).to(context.device)
        maps, predicted, methods = [], [], []
        models = self.models(context)
        for model in track(models, self.name):
            network = model.network(context.device)
            maps.append([self.attribute(network, images, targets).float().cpu().numpy() for images in inputs])
            with torch.no_grad():
                predicted.append([network(images).argmax(1).cpu().numpy() for images in inputs])
            methods.append(self.method(network))
        arrays = {
            "images": np.stack([as_bytes(variant.images.numpy()) for variant in variants]),
            "maps": np.array(maps, np.float32),
            "predicted": np.array(predicted, np.int64),
        }
        metadata = {
            "models": [{**model, "method": method} for model, method in zip(described(models), methods, strict=True)],
            "variants": [variant.name for variant in variants],
            "names": context.class_names(samples.labels),
            "classes": list(context.opened.classes),
            "dataset": context.opened.name,
        }
        return Exhibit(self.name, arrays, metadata)


class SmoothedAttribution(Attribution):
    """Attributions of smoothed images among others.

    Args:
        level: sparsity level of smoothing; None for the protocol's.
        nu, scheme: as for `smooth`.
    """

    def __init__(self, *, count: int = 4, level: float | None = None, nu: float = 1.0, scheme: str = "paper") -> None:
        super().__init__(count=count)
        self.level = level
        self.nu = nu
        self.scheme = scheme

    def smoothed(self, images: torch.Tensor) -> Variant:
        """The images at a sparsity level, which keeps their large scales."""
        level = self.level or usual_level(max(images.shape[2:]))
        smoothing = preprocessors.create(f"{PREPROCESSOR}:nu={self.nu!r},level={level!r},scheme={self.scheme}")
        return Variant(f"large scale, level {level:g}", Preprocessed.of(smoothing(images)).images)


@exhibits.register("grad_cam")
class GradCam(SmoothedAttribution):
    """Grad-CAM of test images, their low frequencies and their large scales (Fig. 1 b).

    Args:
        radius: cut-off of the low frequencies, in periods per image.
        count: how many images.
        level, nu, scheme: as for `smooth`.
    """

    def __init__(
        self,
        *,
        count: int = 4,
        radius: float = HEADLINE_RADIUS,
        level: float | None = None,
        nu: float = 1.0,
        scheme: str = "paper",
    ) -> None:
        super().__init__(count=count, level=level, nu=nu, scheme=scheme)
        if not radius > 0:
            raise UserError(f"radius must be above 0, got {radius:g}.")
        self.radius = radius

    def variants(self, images: torch.Tensor) -> list[Variant]:
        """The images, their low frequencies, their large scales."""
        low = frequency_part(images, part="low", radius=self.radius)
        return [
            Variant("original", images),
            Variant(f"low frequency, r = {self.radius:g}", low),
            self.smoothed(images),
        ]

    def attribute(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Grad-CAM."""
        return grad_cam(model, images, targets)


@exhibits.register("grad_cam_training")
class GradCamTraining(Attribution):
    """Grad-CAM of test images during training, from kept checkpoints (Fig. 5)."""

    def models(self, context: ExplainContext) -> list[ExplainedModel]:
        """The checkpoints kept during training."""
        return in_training(context)

    def attribute(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Grad-CAM."""
        return grad_cam(model, images, targets)


@exhibits.register("relevance")
class Relevance(SmoothedAttribution):
    """Relevance (LRP) of the pixels of original, blurred and smoothed test images (Fig. 3)."""

    def variants(self, images: torch.Tensor) -> list[Variant]:
        """The images, blurred as the defense `blur` does, smoothed."""
        blurred = preprocessors.create("blur")(images)
        return [Variant("original", images), Variant("Gaussian blur", blurred), self.smoothed(images)]

    def attribute(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """LRP, or integrated gradients where its rules are not known."""
        return relevance(model, images, targets)

    def method(self, model: nn.Module) -> str:
        """LRP where its rules are known."""
        return relevance_method(model)
