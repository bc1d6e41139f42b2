"""The best point that an attack of AutoAttack reached for each image that it did not fool."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from harness.attacks.losses import margin


class BestPoints:
    """For each image the point of largest margin among those reached; AutoAttack keeps only those that fool.

    AutoAttack returns an image that it could not fool unchanged. Scored on another model or behind a preprocessor, a
    clean image would then count as an attacked one.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.best: dict[bytes, tuple[float, torch.Tensor]] = {}

    def watch(self, attack: Any, position: int) -> None:
        """Keep the points that each run of one of AutoAttack's attacks returns at `position` of its tuple."""
        run = attack.attack_single_run

        def watched(images: torch.Tensor, labels: torch.Tensor, *args: Any, **options: Any) -> Any:
            returned = run(images, labels, *args, **options)
            self._keep(images, labels, returned[position].detach())
            return returned

        attack.attack_single_run = watched

    @torch.no_grad()
    def _keep(self, images: torch.Tensor, labels: torch.Tensor, points: torch.Tensor) -> None:
        margins = margin(self.model(points), labels).tolist()
        for content, value, point in zip(_contents(images), margins, points, strict=True):
            if content not in self.best or value > self.best[content][0]:
                self.best[content] = (value, point)

    def instead_of_originals(self, examples: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """`examples`, with the best point where an example is the image itself and a point is known."""
        unchanged = (examples == images).flatten(1).all(1)
        pairs = zip(examples, _contents(images), strict=True)
        best = torch.stack([self.best.get(content, (0.0, example))[1] for example, content in pairs])
        return torch.where(unchanged[:, None, None, None], best, examples)


def _contents(images: torch.Tensor) -> list[bytes]:
    """The bytes of each image, the key of its best point: AutoAttack gives its attacks subsets without positions."""
    return [image.tobytes() for image in images.detach().cpu().numpy()]
