"""Smoothing as a torchvision transform, for tensors, batches and Pillow pictures, alone or in a pipeline."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from harness.errors import UserError

from ..method.settings import Scheme, checked_level, checked_scheme, positive, whole_number
from ..smoothing import DEFAULT_LEVEL, MAX_ITERATIONS, smooth
from .pillow import like_picture, to_planes


class SmoothedPicture(NamedTuple):
    """A smoothed picture, and how its path ended."""

    picture: Image.Image
    outcome: str
    """`reached`, `unreachable` or `max_iterations`, as for `smooth`."""


class InverseScaleSmoothing(v2.Transform):
    """Remove what is small in scale from images; keep what is large, with sharp edges. See `smooth`.

    level: 0 to 1, the share of neighbouring pixels that may differ, default 0.6; larger keeps more detail.
    nu: larger lets features enter by scale rather than by contrast, in more iterations.
    kappa: larger follows the limit of no elastic-net term more closely, in more iterations.
    scheme: `paper`, `exact` or `fast`.
    max_iterations: where a path that has not reached the level ends.
    iterations: stop after so many iterations instead of at a level.

    It takes floating point tensors in [0,1] and uint8 tensors [...,C,H,W] with C 1 or 3, `tv_tensors.Image` and
    `Video`, and Pillow pictures. The result has the class, type, mode, size and device of the input, and is rounded
    where that holds whole numbers. Every image is smoothed by itself; a batch is smoothed on as many threads as
    PyTorch uses, which is one in a worker of a DataLoader. Transparency stays as it is. In a pipeline of torchvision's
    `v2`, boxes, masks, labels and all but the first plain tensor are returned as they are. It has no gradient; inside a
    network use `smooth_bpda`.

    >>> import torch
    >>> from torchvision.transforms import v2
    >>> step_edge = torch.zeros(3, 4, 4, dtype=torch.uint8)
    >>> step_edge[:, :, 2:] = 204
    >>> step_edge[:, 0, 0] = 51
    >>> pipeline = v2.Compose([InverseScaleSmoothing(level=4 / 24), v2.ToDtype(torch.float32, scale=True)])
    >>> pipeline(step_edge)[0].unique().numel()
    2

    Raises: UserError for options outside their ranges, and when called for images that `smooth` cannot use.
    """

    def __init__(
        self,
        *,
        level: float | None = None,
        nu: float = 1.0,
        kappa: float = 5.0,
        scheme: Scheme = "paper",
        iterations: int | None = None,
        max_iterations: int = MAX_ITERATIONS,
    ) -> None:
        super().__init__()
        if level is not None and iterations is not None:
            raise UserError(f"give either level or iterations, got level={level} and iterations={iterations}.")
        self.level = checked_level(DEFAULT_LEVEL if level is None else level)
        self.nu, self.kappa, self.scheme = positive("nu", nu), positive("kappa", kappa), checked_scheme(scheme)
        self.iterations = None if iterations is None else whole_number("iterations", iterations, least=0)
        self.max_iterations = whole_number("max_iterations", max_iterations, least=1)

    def options(self) -> dict[str, Any]:
        """The options that rebuild this object, with `level` or `iterations`, whichever the stop is."""
        stop = {"level": self.level} if self.iterations is None else {"iterations": self.iterations}
        others = {name: getattr(self, name) for name in ("nu", "kappa", "scheme", "max_iterations")}
        return {**stop, **others}

    def extra_repr(self) -> str:
        """The options, for `repr`."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options().items())

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Raises: UserError where there is nothing to smooth, which torchvision would return without a word."""
        if not any(isinstance(each, (torch.Tensor, Image.Image)) for each in flat_inputs):
            kinds = ", ".join(sorted({type(each).__name__ for each in flat_inputs})) or "nothing"
            raise UserError(f"expected a tensor or a Pillow picture among what is to be smoothed, got {kinds}.")

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The smoothed image, or `inpt` itself where it is no image; called by torchvision."""
        if isinstance(inpt, Image.Image):
            return self.smooth_picture(inpt).picture
        if not isinstance(inpt, tv_tensors.TVTensor):
            return self._smooth_tensor(inpt)
        if not isinstance(inpt, (tv_tensors.Image, tv_tensors.Video)):
            return inpt
        return tv_tensors.wrap(self._smooth_tensor(inpt.as_subclass(torch.Tensor)), like=inpt)

    _check_inputs, _transform = check_inputs, transform
    """What torchvision before 0.21 calls them."""

    def smooth_picture(self, picture: Image.Image) -> SmoothedPicture:
        """The smoothed picture, of the same mode and size, and its outcome."""
        smoothed = smooth(to_planes(picture), **self.options())
        return SmoothedPicture(like_picture(smoothed.images, picture), str(smoothed.outcome))

    def _smooth_tensor(self, images: torch.Tensor) -> torch.Tensor:
        batch = images.flatten(0, -4) if images.ndim > 4 else images
        smoothed = smooth(batch, **self.options()).images.reshape(images.shape)
        if images.dtype == torch.uint8:
            smoothed = (smoothed * 255).round()
        return smoothed.to(images.dtype)
