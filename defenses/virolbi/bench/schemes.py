"""How far the schemes' images are from the paper's at the same level, and what each costs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from harness.errors import UserError
from harness.progress import track

from ..method import reference, settings
from ..method.settings import checked_scheme, make_settings
from ..smoothing import path
from .images import Images
from .measurements import Measurements
from .timing import clock

KAPPA = 5.0
STRETCH = 1.9
"""The step of the variant that shows the effect of the step alone, in usual steps."""
LONG = f"paper, {STRETCH} α"
VARIANTS = ("paper", "fast", "exact", LONG)
"""What is measured; the first is what the others are compared with."""
COLUMNS = (
    *("images", "count", "size", "channels", "variant", "scheme", "nu", "kappa", "step", "level", "threads"),
    *("reached", "mean_difference", "worst_image_difference", "largest_difference", "common_support"),
    *("iterations", "seconds", "images_per_second"),
)


class Setup(NamedTuple):
    """What to measure."""

    number: int
    """Images."""
    size: int
    """Pixels a side."""
    nus: Sequence[float]
    """Couplings ν."""
    levels: Sequence[float]
    """Sparsity levels, ascending."""


class Stage(NamedTuple):
    """B images where their path reached a level."""

    images: torch.Tensor
    """[B,C,H,W] in [0,1]."""
    support: torch.Tensor
    """[B,|E|] bool."""
    reached: np.ndarray
    """[B] bool; the others are left out of comparisons."""
    iterations: float
    """The mean over the images."""
    seconds: float
    """From the start of the path."""


def check(setup: Setup, available: int | None) -> None:
    """Raises: UserError for anything that cannot be measured; available: how many images there are, None: any."""
    if setup.number < 1 or (available is not None and setup.number > available):
        bounds = "1 or more" if available is None else f"from 1 to {available}, the number of test images"
        raise UserError(f"--count must be {bounds}, got {setup.number}.")
    for nu in setup.nus:
        settings.positive("--nu", nu)
    for level in setup.levels:
        settings.checked_level(level, "--levels")


def measure(setup: Setup, images: Images, name: str, measurements: Measurements) -> None:
    """Record a row for every ν, variant and level; `name` says where the images come from.

    One run of the path serves all levels.
    """
    batch = torch.from_numpy(images(setup.number, setup.size))
    shared = {"images": name, "count": len(batch), "size": setup.size, "channels": batch.shape[1], "kappa": KAPPA}
    papers: list[Stage] = []
    for nu, variant in track([(nu, variant) for nu in setup.nus for variant in VARIANTS], "schemes"):
        options = _options(variant, nu, setup.size)
        stages = []
        for place, stage in enumerate(_along(batch, setup.levels, options)):
            stages.append(stage)
            against = stage if variant == VARIANTS[0] else papers[place]
            how = {"variant": variant, "threads": torch.get_num_threads(), "level": setup.levels[place], **options}
            cost = {"iterations": stage.iterations, "seconds": stage.seconds}
            speed = len(batch) / stage.seconds
            measurements.add(**shared, **how, **cost, images_per_second=speed, **_deviations(stage, against))
        papers = stages if variant == VARIANTS[0] else papers


def _options(variant: str, nu: float, size: int) -> dict[str, Any]:
    """The scheme, ν and α of a variant."""
    scheme = checked_scheme("paper" if variant == LONG else variant)
    usual = make_settings(size, size, kappa=KAPPA, nu=nu, step=None, scheme=scheme).step
    return {"scheme": scheme, "nu": nu, "step": STRETCH * usual if variant == LONG else usual}


def _along(batch: torch.Tensor, levels: Sequence[float], options: dict[str, Any]) -> Iterator[Stage]:
    """The stages of a path, which continues at each level from the one before."""
    path(batch[:1], iterations=[1], kappa=KAPPA, **options)  # compiles the kernels, or loads them
    state, elapsed = None, 0.0
    for level in levels:
        seconds, result = clock(functools.partial(path, batch, levels=[level], state=state, kappa=KAPPA, **options))
        state, elapsed = result.state, elapsed + seconds
        (smoothed,) = result
        iterations = float(smoothed.iterations.double().mean())
        duals = state.state.z_horizontal, state.state.z_vertical
        # The edges with γ = κ·shrink(z) ≠ 0, as the reference computes it.
        support = torch.cat([reference.shrink(z, KAPPA).ne(0).any(1).flatten(1) for z in duals], 1)
        yield Stage(smoothed.images, support, smoothed.outcome == "reached", iterations, elapsed)


def _deviations(stage: Stage, papers: Stage) -> dict[str, float | None]:
    """Differences in grey levels of 255 and the mean Jaccard index of the supports, over images that reached both."""
    both = torch.from_numpy(stage.reached & papers.reached)
    names = ("reached", "mean_difference", "worst_image_difference", "largest_difference", "common_support")
    if not both.any():
        return dict.fromkeys(names) | {"reached": 0}
    off = 255 * (stage.images[both].double() - papers.images[both].double()).abs()
    ours, theirs = stage.support[both], papers.support[both]
    # At level 0 both supports are empty, and so equal.
    joint, either = (ours & theirs).sum(1).double(), (ours | theirs).sum(1).double()
    common = torch.where(either > 0, joint / either.clamp(min=1), 1.0)
    values = (off.mean(), off.mean((1, 2, 3)).max(), off.max(), common.mean())
    return dict(zip(names, (int(both.sum()), *map(float, values)), strict=True))
