"""What an attack of AutoAttack's tried last, where it gave up."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from harness.attacks.losses import margin


class Tried:
    """The best point that each image was moved to, which AutoAttack forgets unless it fools the model.

    Scored on another model, or behind a preprocessing, an image that was given up would else count as an attacked one.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.best: dict[bytes, tuple[float, torch.Tensor]] = {}

    def watch(self, part: Any, place: int) -> None:
        """Look at what a part's runs return at `place`."""
        run = part.attack_single_run

        def watched(images: torch.Tensor, labels: torch.Tensor, *given: Any, **more: Any) -> Any:
            returned = run(images, labels, *given, **more)
            self._keep(images, labels, returned[place].detach())
            return returned

        part.attack_single_run = watched

    @torch.no_grad()
    def _keep(self, images: torch.Tensor, labels: torch.Tensor, points: torch.Tensor) -> None:
        margins = margin(self.model(points), labels).tolist()
        for content, value, point in zip(_contents(images), margins, points, strict=True):
            if content not in self.best or value > self.best[content][0]:
                self.best[content] = (value, point)

    def instead_of_originals(self, found: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """`found`, with the best point tried where that is the image itself."""
        same = (found == images).flatten(1).all(1)
        pairs = zip(found, _contents(images), strict=True)
        best = torch.stack([self.best.get(content, (0.0, row))[1] for row, content in pairs])
        return torch.where(same[:, None, None, None], best, found)


def _contents(images: torch.Tensor) -> list[bytes]:
    return [image.tobytes() for image in images.detach().cpu().numpy()]
