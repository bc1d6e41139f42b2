"""The Numba kernels of the CPU backend: one image at a time, without the GIL, in float32.

Planes are flat, [H·W] per channel, so that one loop runs over a whole plane and the compiler turns it into vector
instructions. Each loop touches few arrays, because the compiler must prove them apart at run time and gives up on
many. Each works element by element in the reference's order of operations, with no fused or reordered arithmetic:
results depend neither on the vector width nor on the machine, and agree with the reference. Lone constants are
float32, since a Python float would turn the arithmetic into double precision.

All kernels are in this one file because Numba's cache on disk notices a change of the file a kernel is in, but not
of the kernels it calls.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numba import njit

_kernel = njit(cache=True, nogil=True, error_model="numpy")

Array: TypeAlias = np.ndarray
_ONE, _ZERO = np.float32(1), np.float32(0)


class Constants(NamedTuple):
    """The factors of Eq. 5 in float32."""

    kappa: np.float32
    nu: np.float32
    u_step: np.float32
    """κα"""
    z_step: np.float32
    """αν"""


class Planes(NamedTuple):
    """The state of one image of N pixels, W wide, and the residuals r = Du − γ of the iteration under way.

    The edge at pixel p leads right, to p+1, or down, to p+W. γ is not stored: it is scale·z with
    scale = κ(1 − 1/‖z_e‖)₊, and for one channel κ(z − clip(z)).
    """

    u: Array
    """[C,N+1]"""
    z_right: Array
    """[C,N]"""
    z_down: Array
    """[C,N−W]"""
    scale_right: Array
    """[N]"""
    scale_down: Array
    """[N−W]"""
    r_right: Array
    """[C,N+1], the edge of pixel p at p+1, where it arrives; 0 at the start of every row."""
    r_down: Array
    """[C,N+W], the edge of pixel p at p+W."""
    exists_right: Array
    """[N], 0 at the end of every row and 1 elsewhere."""
    exists_down: Array
    """[N−W], all 1."""


@_kernel
def trace_one(
    x: Array,
    stops: Array,
    max_iterations: int,
    constants: Constants,
    images: Array,
    labels: Array,
    counts: Array,
    iterations: Array,
) -> None:
    """The path of one image x [C,H,W] to each of its stops; the last four are filled in, see `trace.Trace`."""
    channels, height, width = x.shape
    flat = x.reshape((channels, height * width))
    planes = _start(channels, height, width)
    size = 0
    k = 0
    for stop in range(stops.size):
        while size < stops[stop] and k < max_iterations:
            size = _advance(flat, planes, width, constants)
            k += 1
        cut_horizontal, cut_vertical = _support(planes, height, width)
        label_components(cut_horizontal, cut_vertical, labels[stop])
        u = planes.u[:, :-1].copy().reshape(x.shape)
        fill_means(u, labels[stop], images[stop])
        counts[stop] = size
        iterations[stop] = k


@_kernel
def _start(channels: int, height: int, width: int) -> Planes:
    pixels = height * width
    down = pixels - width
    exists_right = np.ones((height, width), np.float32)
    exists_right[:, -1] = _ZERO
    return Planes(
        np.zeros((channels, pixels + 1), np.float32),
        np.zeros((channels, pixels), np.float32),
        np.zeros((channels, down), np.float32),
        np.zeros(pixels, np.float32),
        np.zeros(down, np.float32),
        np.zeros((channels, pixels + 1), np.float32),
        np.zeros((channels, pixels + width), np.float32),
        exists_right.ravel(),
        np.ones(down, np.float32),
    )


@_kernel
def _advance(x: Array, planes: Planes, width: int, constants: Constants) -> int:
    """One iteration of Eq. 5; returns the size of the new support."""
    u, z_right, z_down, scale_right, scale_down, r_right, r_down, exists_right, exists_down = planes
    channels, pixels = x.shape
    down = pixels - width
    for c in range(channels):
        here, right, below = u[c, :pixels], u[c, 1:], u[c, width:pixels]
        if channels == 1:
            size = _update_gray(here, right, exists_right, z_right[c], r_right[c, 1:], constants)
            size += _update_gray(here[:down], below, exists_down, z_down[c], r_down[c, width:], constants)
        else:
            _update(here, right, exists_right, scale_right, z_right[c], r_right[c, 1:], constants)
            _update(here[:down], below, exists_down, scale_down, z_down[c], r_down[c, width:], constants)
    if channels == 3:
        size = _rescale(z_right[0], z_right[1], z_right[2], scale_right, constants)
        size += _rescale(z_down[0], z_down[1], z_down[2], scale_down, constants)
    for c in range(channels):
        _descend(
            u[c, :pixels], x[c], r_right[c, :pixels], r_right[c, 1:], r_down[c, :pixels], r_down[c, width:], constants
        )
    return size


@_kernel
def _update(here: Array, there: Array, exists: Array, scale: Array, z: Array, r: Array, constants: Constants) -> None:
    """(5b) of one channel's edges in one direction, leaving r for the image's own step."""
    z_step = constants.z_step
    for p in range(z.size):
        r[p] = ((there[p] - here[p]) - scale[p] * z[p]) * exists[p]
        z[p] = z[p] + z_step * r[p]


@_kernel
def _update_gray(here: Array, there: Array, exists: Array, z: Array, r: Array, constants: Constants) -> int:
    """As `_update` where the image has one channel; returns how many edges are in the support."""
    z_step, kappa = constants.z_step, constants.kappa
    size = np.int32(0)
    for p in range(z.size):
        gamma = kappa * (z[p] - min(max(z[p], -_ONE), _ONE))
        r[p] = ((there[p] - here[p]) - gamma) * exists[p]
        z[p] = z[p] + z_step * r[p]
        size = np.int32(size + np.int32(abs(z[p]) > _ONE))
    return int(size)


@_kernel
def _rescale(z0: Array, z1: Array, z2: Array, scale: Array, constants: Constants) -> int:
    """(8) in the form γ = scale·z; returns how many edges are in the support."""
    kappa = constants.kappa
    size = np.int32(0)
    for p in range(scale.size):
        squared = (z0[p] * z0[p] + z1[p] * z1[p]) + z2[p] * z2[p]
        factor = _ONE - _ONE / np.sqrt(max(squared, _ONE))
        scale[p] = kappa * factor
        size = np.int32(size + np.int32(factor > _ZERO))
    return int(size)


@_kernel
def _descend(
    u: Array, x: Array, from_left: Array, to_right: Array, from_above: Array, to_below: Array, constants: Constants
) -> None:
    """(5a) of one channel: r of the four edges around each pixel give Dᵀr."""
    u_step, nu = constants.u_step, constants.nu
    for p in range(u.size):
        adjoint = ((from_left[p] - to_right[p]) + from_above[p]) - to_below[p]
        u[p] = u[p] - u_step * ((u[p] - x[p]) + nu * adjoint)


@_kernel
def _support(planes: Planes, height: int, width: int) -> tuple[Array, Array]:
    """[H,W−1] and [H−1,W] bool: the edges with γ ≠ 0."""
    gray = len(planes.z_right) == 1
    right = np.abs(planes.z_right[0]) > _ONE if gray else planes.scale_right > _ZERO
    down = np.abs(planes.z_down[0]) > _ONE if gray else planes.scale_down > _ZERO
    return right.reshape((height, width))[:, :-1].copy(), down.reshape((height - 1, width))


@_kernel
def label_components(cut_horizontal: Array, cut_vertical: Array, labels: Array) -> None:
    """Number the components of one image's pixels joined by uncut edges into labels [H,W], in raster order."""
    height, width = labels.shape
    parent = np.arange(height * width)
    for i in range(height):
        for j in range(width):
            p = i * width + j
            if j > 0 and not cut_horizontal[i, j - 1]:
                _join(parent, p - 1, p)
            if i > 0 and not cut_vertical[i - 1, j]:
                _join(parent, p - width, p)
    flat = labels.ravel()
    found = 0
    for p in range(parent.size):
        if parent[p] == p:
            flat[p] = found
            found += 1
        else:
            flat[p] = flat[_root(parent, p)]


@_kernel
def _root(parent: Array, p: int) -> int:
    """The smallest pixel known to be joined with p; the way there is halved for the next time."""
    while parent[p] != p:
        parent[p] = parent[parent[p]]
        p = parent[p]
    return p


@_kernel
def _join(parent: Array, p: int, q: int) -> None:
    p, q = _root(parent, p), _root(parent, q)
    if p < q:
        parent[q] = p
    else:
        parent[p] = q


@_kernel
def fill_means(values: Array, labels: Array, out: Array) -> None:
    """Every pixel's mean over its component, per channel: values and out [C,H,W], summed in float64."""
    flat = labels.ravel()
    sizes = np.zeros(flat.max() + 1)
    for p in range(flat.size):
        sizes[flat[p]] += 1
    for c in range(len(values)):
        source, target = values[c].ravel(), out[c].ravel()
        sums = np.zeros(sizes.size)
        for p in range(flat.size):
            sums[flat[p]] += source[p]
        for p in range(flat.size):
            target[p] = sums[flat[p]] / sizes[flat[p]]
