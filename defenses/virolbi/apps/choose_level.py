"""Where to stop the path of noisy images: the level, or time, of least reconstruction error (Remark 3)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from harness.errors import UserError

from ..inputs import Images, as_tensor, to_batch
from ..method.settings import Scheme, checked_counts, checked_levels, whole_number
from ..smoothing import MAX_ITERATIONS, path

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_BLOCK_VALUES = 2**24
"""Values smoothed at a time."""


class Choice(NamedTuple):
    """The candidate of least error, and how certain it is."""

    best: float
    """The candidate whose mean error over all images is least; the smaller one of two that tie."""
    candidates: np.ndarray
    """[L], ascending."""
    errors: np.ndarray
    """[L] float64: mean squared error per pixel and channel, of images in [0,1]."""
    standard_errors: np.ndarray
    """[L] float64: of those means, from the spread between images."""
    fold_choices: np.ndarray
    """[K]: the best candidate of the images outside each fold. Where these lie far apart, the choice hardly matters."""
    held_out_error: float
    """The mean error of the images, each at the best candidate of those outside its fold: to expect of new images."""


def choose_level(
    images: Images,
    noisy: Images,
    *,
    levels: Iterable[float] = LEVELS,
    iterations: Iterable[int] | None = None,
    folds: int = 5,
    generator: torch.Generator | None = None,
    nu: float = 1.0,
    kappa: float = 5.0,
    scheme: Scheme = "paper",
    max_iterations: int = MAX_ITERATIONS,
    backend: str | None = None,
) -> Choice:
    """The sparsity level at which the smoothed noisy images are nearest to the images without noise.

    images: [N,C,H,W] without the noise, as `smooth` takes them. The same images with other noise serve as well if that
      noise is independent and of mean zero: it adds its variance to every error, and the choice stays the same. Such
      images may lie beyond [0,1].
    noisy: [N,C,H,W], the same images with the noise to expect, in [0,1]; clamp values beyond it, as a camera does.
    levels: ascending candidates; one run of the path serves them all.
    iterations: ascending candidates for the number of iterations, t₀ in steps of α, instead of a level.
    folds: how many parts the images are split into, at random with a `generator`, else in turn.

    The other options are those of `smooth`. A noisy image that cannot reach a level counts there as it is.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> blocks = np.kron(rng.uniform(0.2, 0.8, (4, 1, 2, 2)), np.ones((8, 8)))
    >>> noisy = blocks + rng.uniform(-0.1, 0.1, blocks.shape)
    >>> choose_level(blocks, noisy, levels=[0.05, 0.2, 0.5, 0.8], folds=2).best
    0.2

    Raises: UserError for images that are unusable, fewer than 2, or of another shape than the noisy ones, and for
    candidates, folds or options outside their ranges.
    """
    _check_pairs(images, noisy)
    fold_of = _fold_of(len(images), folds, generator)
    candidates = checked_levels(levels) if iterations is None else checked_counts(iterations)
    options = {"nu": nu, "kappa": kappa, "scheme": scheme, "max_iterations": max_iterations, "backend": backend}
    stops = {"levels" if iterations is None else "iterations": candidates}
    return _choice(np.array(candidates), _errors(images, noisy, len(candidates), {**stops, **options}), fold_of)


def _choice(candidates: np.ndarray, errors: np.ndarray, fold_of: np.ndarray) -> Choice:
    """From the errors [N,L] and the images' folds [N]."""
    fold_best = np.array([errors[fold_of != fold].mean(axis=0).argmin() for fold in np.unique(fold_of)])
    mean = errors.mean(axis=0)
    return Choice(
        best=candidates[mean.argmin()].item(),
        candidates=candidates,
        errors=mean,
        standard_errors=errors.std(axis=0, ddof=1) / np.sqrt(len(errors)),
        fold_choices=candidates[fold_best],
        held_out_error=float(errors[np.arange(len(errors)), fold_best[fold_of]].mean()),
    )


def _check_pairs(images: Images, noisy: Images) -> None:
    shapes = [list(getattr(each, "shape", [])) for each in (images, noisy)]
    if shapes[0] != shapes[1] or len(shapes[0]) != 4:
        raise UserError(f"images and noisy must both be [N,C,H,W] of one shape, got {shapes[0]} and {shapes[1]}.")
    if len(images) < 2:
        raise UserError(f"cross-validation needs at least 2 images, got {len(images)}.")


def _fold_of(count: int, folds: int, generator: torch.Generator | None) -> np.ndarray:
    """[N], which fold each image is in; the folds differ by at most one image in size."""
    if whole_number("folds", folds, least=2) > count:
        raise UserError(f"folds must be at most the number of images, {count}, got {folds}.")
    in_turn = np.arange(count) % folds
    if generator is None:
        return in_turn
    return in_turn[torch.randperm(count, generator=generator, device=generator.device).cpu().numpy()]


def _errors(images: Images, noisy: Images, candidates: int, options: dict[str, Any]) -> np.ndarray:
    """[N,L] float64: every image's mean squared error at every candidate."""
    block = max(1, _BLOCK_VALUES // (candidates * math.prod(images.shape[1:])))
    errors = np.empty((len(images), candidates))
    for start in range(0, len(images), block):
        rows = slice(start, start + block)
        target = _target(images[rows])
        for candidate, stage in enumerate(path(to_batch(noisy[rows]), **options)):
            squares = np.square(np.subtract(stage.images.cpu().numpy(), target, dtype=np.float64))
            # Averaged by NumPy, whose order depends neither on threads nor on the other images.
            errors[rows, candidate] = squares.reshape(len(target), -1).mean(axis=1)
    return errors


def _target(images: Images) -> np.ndarray:
    """[n,C,H,W] float64; uint8 divided by 255, anything else as it is. Raises: UserError for NaN or infinity."""
    array = as_tensor(images).cpu().numpy()
    target = array.astype(np.float64) / (255 if array.dtype == np.uint8 else 1)
    if not np.isfinite(target).all():
        raise UserError("images must be finite, got NaN or infinity.")
    return target
