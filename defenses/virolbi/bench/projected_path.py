"""The path with a projection in every iteration, which Table 7 times; smoothing itself projects only where it stops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from harness.errors import UserError

from ..backends import kernels
from ..backends.cpu import kernel_constants, solver_tables
from ..backends.kernel_types import Array, Constants, ImageState, Planes, Solver
from ..backends.kernels_projection import average, component_sizes, label_components
from ..method.settings import Settings
from ..method.trace import SolverState


class PathPoint(NamedTuple):
    """A path after k iterations."""

    k: int
    u: torch.Tensor
    """[C,H,W]"""
    cut_h: torch.Tensor
    """[H,W−1] bool: the horizontal edges in the support."""
    cut_v: torch.Tensor
    """[H−1,W] bool: the vertical ones."""


class ProjectedPath(NamedTuple):
    """The end of a path with a projection in every iteration."""

    image: torch.Tensor
    """ũ [C,H,W], unclipped."""
    changes: int
    """In how many iterations the support changed."""


def project_along(image: torch.Tensor, settings: Settings, iterations: int) -> ProjectedPath:
    """Eqs. 5 and 6 in every one of `iterations`, for an image [C,H,W], float32 on the CPU.

    Components are computed where the support changes, their means in every iteration.
    Raises: UserError for the scheme `exact`.
    """
    x, planes, constants, solver = _begin(image, settings)
    smoothed = torch.zeros_like(image)
    height, width = image.shape[-2:]
    changes = _project_along(x, iterations, height, width, constants, solver, planes, smoothed.flatten(1).numpy())
    return ProjectedPath(smoothed, changes)


def walk(image: torch.Tensor, settings: Settings, stops: Iterable[int]) -> Iterator[PathPoint]:
    """The path of an image [C,H,W], float32 on the CPU, after each of the ascending numbers of iterations `stops`.

    Raises: UserError for the scheme `exact`.
    """
    x, planes, constants, solver = _begin(image, settings)
    height, width = image.shape[-2:]
    cut_right, cut_down = np.zeros((height, width), bool), np.zeros((height, width), bool)
    k = 0
    for stop in stops:
        for _ in range(stop - k):
            kernels.iterate(x, planes, width, constants, solver)
        k = stop
        kernels.mark_support(planes, cut_right, cut_down, constants)
        u = kernels.to_image(planes.u, height, width)
        cuts = cut_right[:, : width - 1].copy(), cut_down[: height - 1].copy()
        yield PathPoint(k, *map(torch.from_numpy, (u, *cuts)))


def _begin(image: torch.Tensor, settings: Settings) -> tuple[Array, Planes, Constants, Solver]:
    """The image [C,N], and what the kernels need to iterate on it from u = z = 0."""
    if settings.scheme == "exact":
        raise UserError("the scheme 'exact' does not start at u = 0 as gradient steps do. Use 'paper' or 'fast'.")
    height, width = image.shape[-2:]
    u, velocity, z_horizontal, z_vertical, iterations = (part.numpy() for part in SolverState.start(image[None]))
    state = ImageState(u[0], velocity[0], z_horizontal[0], z_vertical[0], iterations)
    constants = kernel_constants(settings, image[None])
    planes = kernels.load(state, height, width, constants)
    x = image.contiguous().flatten(1).numpy()
    return x, planes, constants, solver_tables(settings, height, width)


@njit(nogil=True, error_model="numpy")  # not cached: it would not notice changes of the kernels it calls
def _project_along(
    x: Array,
    iterations: int,
    height: int,
    width: int,
    constants: Constants,
    solver: Solver,
    planes: Planes,
    smoothed: Array,
) -> int:
    cut_right, cut_down = np.zeros((height, width), np.bool_), np.zeros((height, width), np.bool_)
    labels = np.zeros((height, width), np.int32)
    parts = labels.ravel()
    sizes = component_sizes(parts, 1)
    changes = 0
    for _ in range(iterations):
        kernels.iterate(x, planes, width, constants, solver)
        if kernels.mark_support(planes, cut_right, cut_down, constants):
            sizes = component_sizes(parts, label_components(cut_right, cut_down, labels))
            changes += 1
        for c in range(len(x)):
            average(planes.u[c], parts, sizes, smoothed[c])
    return changes
