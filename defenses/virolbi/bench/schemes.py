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
from .measurements import Ledger
from .timing import clock

KAPPA = 5.0
STRETCH = 1.9
"""How many times as long as usual the paper's steps are in the variant that shows what the step alone does."""
LONG = f"paper, {STRETCH} α"
VARIANTS = ("paper", "fast", "exact", LONG)
"""What is measured; the first is what the others are compared with."""
COLUMNS = (
    *("images", "count", "size", "channels", "variant", "scheme", "nu", "kappa", "step", "level", "threads"),
    *("reached", "mean_difference", "worst_image_difference", "largest_difference", "common_support"),
    *("iterations", "seconds", "images_per_second"),
)


class Setup(NamedTuple):
    """What to measure: how many images of how many pixels a side, couplings ν, ascending levels."""

    number: int
    size: int
    nus: Sequence[float]
    levels: Sequence[float]


class Stage(NamedTuple):
    """B images where their path came to a level.

    images: [B,C,H,W] in [0,1] · support: [B,|E|] bool · reached: [B] bool, the others are left out of comparisons
    iterations: their mean over the images · seconds: from the beginning of the path
    """

    images: torch.Tensor
    support: torch.Tensor
    reached: np.ndarray
    iterations: float
    seconds: float


def check(setup: Setup, available: int | None) -> None:
    """Raises: UserError for anything that cannot be measured; available: how many images there are, None: any."""
    if setup.number < 1 or (available is not None and setup.number > available):
        bounds = "1 or more" if available is None else f"from 1 to {available}, the number of test images"
        raise UserError(f"--count must be {bounds}, got {setup.number}.")
    for nu in setup.nus:
        settings.positive("--nu", nu)
    for level in setup.levels:
        settings.checked_level(level, "--levels")


def measure(setup: Setup, images: Images, name: str, ledger: Ledger) -> None:
    """A row for every ν, variant and level, noted as soon as it is there; images: where they come from, called `name`.

    One run of the path serves all levels.
    """
    batch = torch.from_numpy(images(setup.number, setup.size))
    about = {"images": name, "count": len(batch), "size": setup.size, "channels": batch.shape[1], "kappa": KAPPA}
    papers: list[Stage] = []
    for nu, variant in track([(nu, variant) for nu in setup.nus for variant in VARIANTS], "schemes"):
        options = _options(variant, nu, setup.size)
        stages = []
        for place, stage in enumerate(_along(batch, setup.levels, options)):
            stages.append(stage)
            against = stage if variant == VARIANTS[0] else papers[place]
            how = {"variant": variant, "threads": torch.get_num_threads(), "level": setup.levels[place], **options}
            ledger.add(**about, **how, **_deviations(stage, against), **_cost(stage))
        papers = stages if variant == VARIANTS[0] else papers


def _options(variant: str, nu: float, size: int) -> dict[str, Any]:
    """The scheme, ν and α of a variant."""
    scheme = checked_scheme("paper" if variant == LONG else variant)
    usual = make_settings(size, size, kappa=KAPPA, nu=nu, step=None, scheme=scheme).step
    return {"scheme": scheme, "nu": nu, "step": STRETCH * usual if variant == LONG else usual}


def _along(batch: torch.Tensor, levels: Sequence[float], options: dict[str, Any]) -> Iterator[Stage]:
    """The stages of a path, which is taken up at each level where it stood at the one before."""
    path(batch[:1], iterations=[1], kappa=KAPPA, **options)  # compiles, or loads what was compiled
    state, gone = None, 0.0
    for level in levels:
        seconds, found = clock(functools.partial(path, batch, levels=[level], state=state, kappa=KAPPA, **options))
        state, gone = found.state, gone + seconds
        (smoothed,) = found
        iterations = float(smoothed.iterations.double().mean())
        yield Stage(smoothed.images, _support(state.state), smoothed.outcome == "reached", iterations, gone)


def _support(state: Any) -> torch.Tensor:
    """[B,|E|] bool: the edges with γ = κ·shrink(z) ≠ 0, as the reference computes it."""
    parts = [reference.shrink(z, KAPPA).ne(0).any(1) for z in (state.z_horizontal, state.z_vertical)]
    return torch.cat([part.flatten(1) for part in parts], 1)


def _deviations(found: Stage, expected: Stage) -> dict[str, float | None]:
    """Differences in grey levels of 255 and the mean Jaccard index of the supports, over images that reached both."""
    both = torch.from_numpy(found.reached & expected.reached)
    names = ("reached", "mean_difference", "worst_image_difference", "largest_difference", "common_support")
    if not both.any():
        return dict.fromkeys(names) | {"reached": 0}
    off = 255 * (found.images[both].double() - expected.images[both].double()).abs()
    ours, theirs = found.support[both], expected.support[both]
    # At level 0 no edge is in either: what is equal is 1.
    joint, either = (ours & theirs).sum(1).double(), (ours | theirs).sum(1).double()
    common = torch.where(either > 0, joint / either.clamp(min=1), 1.0)
    values = (off.mean(), off.mean((1, 2, 3)).max(), off.max(), common.mean())
    return dict(zip(names, (int(both.sum()), *map(float, values)), strict=True))


def _cost(stage: Stage) -> dict[str, float]:
    speed = len(stage.images) / stage.seconds
    return {"iterations": stage.iterations, "seconds": stage.seconds, "images_per_second": speed}
