"""The iteration with a projection in every step, which Table 7 times; smoothing itself projects where it stops."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit

from . import kernels
from .cpu import kernel_constants, solver_tables
from .kernels_projection import average, component_sizes, label_components
from .settings import Settings
from .trace import State

Array = np.ndarray


def project_along(image: torch.Tensor, settings: Settings, iterations: int) -> tuple[torch.Tensor, int]:
    """Eqs. 5 and 6 for an image [C,H,W], float32 on the CPU: ũ [C,H,W] of the last of so many iterations, unclipped.

    Components are found anew where the support has changed, their means in every iteration. Also returns in how
    many iterations it had changed.
    """
    u, velocity, z_horizontal, z_vertical, begun = (part.numpy() for part in State.start(image[None]))
    state = kernels.State(u[0], velocity[0], z_horizontal[0], z_vertical[0], begun)
    smoothed = torch.zeros_like(image)
    constants, solver = kernel_constants(settings, image[None]), solver_tables(settings, *image.shape[-2:])
    return smoothed, _project_along(image.numpy(), iterations, constants, solver, state, smoothed.numpy())


@njit(nogil=True, error_model="numpy")
def _project_along(
    x: Array,
    iterations: int,
    constants: kernels.Constants,
    solver: kernels.Solver,
    state: kernels.State,
    out: Array,
) -> int:
    channels, height, width = x.shape
    flat, smoothed = x.reshape((channels, height * width)), out.reshape((channels, height * width))
    planes = kernels.load(state, height, width, constants)
    cut_right, cut_down = np.zeros((height, width), np.bool_), np.zeros((height, width), np.bool_)
    labels = np.zeros((height, width), np.int32)
    parts = labels.ravel()
    sizes = component_sizes(parts, 1)
    changes = 0
    for _ in range(iterations):
        kernels.iterate(flat, planes, width, constants, solver)
        if kernels.mark_support(planes, cut_right, cut_down, constants):
            sizes = component_sizes(parts, label_components(cut_right, cut_down, labels))
            changes += 1
        for c in range(channels):
            average(planes.u[c], parts, sizes, smoothed[c])
    return changes
