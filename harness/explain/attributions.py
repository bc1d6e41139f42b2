"""What networks look at, in plain, blurred and smoothed images and while they are trained: Figures 1 (b), 3 and 5."""

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
from .base import Explanation, Held, Material, as_bytes, described, digest_of_images
from .frequency import in_training


class Variant(NamedTuple):
    """One form of the samples: [N,C,H,W] float32, outside [0,1] too where frequencies were taken away."""

    name: str
    images: torch.Tensor


class _Attribution(Explanation):
    """Maps of what adds to the logit of the true class. count: test images."""

    def __init__(self, *, count: int = 4) -> None:
        if count < 1:
            raise UserError(f"count must be 1 or more images, got {count}.")
        self.count = count

    def models(self, material: Material) -> list[Held]:
        """Whose answers are explained. Raises: UserError."""
        return material.finals

    def variants(self, images: torch.Tensor) -> list[Variant]:
        """The forms in which the samples are shown to a model."""
        return [Variant("original", images)]

    def attribute(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Maps [N,H,W] of float images [N,C,H,W]."""
        raise NotImplementedError

    def method(self, model: nn.Module) -> str:
        """By what the maps of this model are made."""
        return "Grad-CAM"

    def sources(self, material: Material) -> dict[str, Any]:
        """The images and weights, and the libraries' versions."""
        held = self.models(material)
        return {
            "images": digest_of_images(*material.samples(self.count)),
            "weights": [one.digest for one in held],
            "smoothing": preprocessors.fingerprint(PREPROCESSOR),
            "libraries": library_versions(),
        }

    def compute(self, material: Material) -> Exhibit:
        """images [V,N,C,H,W] uint8; of M models maps [M,V,N,H,W] float32 and predicted classes [M,V,N] int64."""
        chosen = material.samples(self.count)
        variants = self.variants(as_float(chosen.images))
        targets = torch.from_numpy(chosen.labels.astype(np.int64)).to(material.device)
        maps, predicted, methods = [], [], []
        held = self.models(material)
        for one in track(held, self.name):
            model = one.network(material.device)
            given = [variant.images.to(material.device) for variant in variants]
            maps.append([self.attribute(model, images, targets).float().cpu().numpy() for images in given])
            predicted.append([_predicted(model, images) for images in given])
            methods.append(self.method(model))
        arrays = {
            "images": np.stack([as_bytes(variant.images.numpy()) for variant in variants]),
            "maps": np.array(maps, np.float32),
            "predicted": np.array(predicted, np.int64),
        }
        about = {
            "models": [{**one, "method": method} for one, method in zip(described(held), methods, strict=True)],
            "variants": [variant.name for variant in variants],
            "names": material.class_names(chosen.labels),
            "classes": list(material.opened.classes),
            "dataset": material.opened.name,
        }
        return Exhibit(self.name, arrays, about)


class _Smoothing(_Attribution):
    """level: sparsity level of smoothing, None for the protocol's · nu, scheme: as for `smooth`."""

    def __init__(self, *, count: int = 4, level: float | None = None, nu: float = 1.0, scheme: str = "paper") -> None:
        super().__init__(count=count)
        self.level = level
        self.nu = nu
        self.scheme = scheme

    def smoothed(self, images: torch.Tensor) -> Variant:
        """The images without what is small in scale."""
        level = self.level or usual_level(max(images.shape[2:]))
        smoothing = preprocessors.create(f"{PREPROCESSOR}:nu={self.nu!r},level={level!r},scheme={self.scheme}")
        return Variant(f"large scale, level {level:g}", Preprocessed.of(smoothing(images)).images)


@exhibits.register("grad_cam")
class GradCam(_Smoothing):
    """Grad-CAM of test images, their low frequencies and their large scales (Fig. 1 b).

    radius: of the low frequencies, in periods per image · count, level, nu, scheme: images; as for `smooth`
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
class GradCamTraining(_Attribution):
    """Grad-CAM of test images while training goes on, from kept checkpoints (Fig. 5)."""

    def models(self, material: Material) -> list[Held]:
        """Those kept while training went on."""
        return in_training(material)

    def attribute(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Grad-CAM."""
        return grad_cam(model, images, targets)


@exhibits.register("relevance")
class Relevance(_Smoothing):
    """Relevance (LRP) of the pixels of original, blurred and smoothed test images (Fig. 3)."""

    def variants(self, images: torch.Tensor) -> list[Variant]:
        """The images, blurred as the defense `blur` does, smoothed."""
        blurred = preprocessors.create("blur")(images)
        return [Variant("original", images), Variant("Gaussian blur", blurred), self.smoothed(images)]

    def attribute(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """LRP, or what stands for it."""
        return relevance(model, images, targets)

    def method(self, model: nn.Module) -> str:
        """LRP where its rules are known."""
        return relevance_method(model)


@torch.no_grad()
def _predicted(model: nn.Module, images: torch.Tensor) -> np.ndarray:
    return model(images).argmax(1).cpu().numpy()
