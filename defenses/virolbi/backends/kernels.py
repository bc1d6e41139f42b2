"""The Numba kernels of the CPU backend: one image at a time, without the GIL, in float32.

Planes are flat, [H·W] per channel: one loop then runs over a whole plane, and the compiler vectorises it. They start
at a cache line, which saves a fifth of the time. Each loop uses few arrays, because the compiler must check at run
time that they do not overlap, and gives up on many. Each works element by element in the reference's order of
operations, with no fused or reordered arithmetic: results depend neither on the vector width nor on the machine.
Constants are float32, since a Python float would make the arithmetic double precision.

Kernels that call each other are in one file because Numba's cache on disk notices a change of the file a kernel is
in, but not of the kernels it calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..._compiled import compiled
from .kernel_types import Array, Constants, ImageState, Planes, Solver, Unprojected

_kernel = compiled(nogil=True, error_model="numpy")
_UNCOUNTED: dict[str, Any] = {"_nrt": False}
_leaf = compiled(nogil=True, error_model="numpy", **_UNCOUNTED)
"""For kernels that allocate nothing: slices are then not reference-counted, which saves a quarter of the time."""
_loop = njit(nogil=True, error_model="numpy", inline="always")
"""For loops over pixels, which on a small image take as little time as a function call."""

_ONE, _ZERO = np.float32(1), np.float32(0)
_LINE = 16
"""Floats in a cache line."""
_STRIP = 8192
"""Pixels of a large image updated at a time, so that they stay in the cache."""


@_kernel
def trace_images(
    x: Array,
    stops: Array,
    max_iterations: int,
    constants: Constants,
    solver: Solver,
    state: ImageState,
    out: Unprojected,
) -> None:
    """The paths of images x [B,C,H,W] from their states to each of their stops [B,L]; state and out are filled in."""
    for b in range(len(x)):
        u, velocity, z_horizontal, z_vertical = (
            state.u[b],
            state.velocity[b],
            state.z_horizontal[b],
            state.z_vertical[b],
        )
        at = ImageState(u, velocity, z_horizontal, z_vertical, state.iterations[b : b + 1])
        cut_right, cut_down = out.cut_right[b], out.cut_down[b]
        result = Unprojected(out.images[b], cut_right, cut_down, out.counts[b], out.iterations[b])
        _trace_one(x[b], stops[b], max_iterations, constants, solver, at, result)


@_kernel
def _trace_one(
    x: Array,
    stops: Array,
    max_iterations: int,
    constants: Constants,
    solver: Solver,
    state: ImageState,
    out: Unprojected,
) -> None:
    channels, height, width = x.shape
    flat = x.reshape((channels, height * width))
    planes = load(state, height, width, constants)
    k = int(state.iterations[0])
    if constants.exact and k == 0:
        _equilibrate(flat, planes, width, constants, solver)
    size = _rescale(planes, 0, height * width, constants)
    for stop in range(stops.size):
        while size < stops[stop] and k < max_iterations:
            size = iterate(flat, planes, width, constants, solver)
            k += 1
        out.images[stop] = to_image(planes.u, height, width)
        mark_support(planes, out.cut_right[stop], out.cut_down[stop], constants)
        out.counts[stop] = size
        out.iterations[stop] = k
    _save(planes, k, state)


@_kernel
def load(state: ImageState, height: int, width: int, constants: Constants) -> Planes:
    """The planes of a state; γ's scale is left at 0."""
    channels, pixels = len(state.u), height * width
    strip = pixels if constants.exact else min(height, max(1, _STRIP // width)) * width
    planes = Planes(
        _aligned(channels, pixels + width),
        _aligned(channels, pixels if constants.inertia > _ZERO else 0),
        _aligned(channels, pixels),
        _aligned(channels, pixels),
        _aligned(1, pixels)[0, :pixels],
        _aligned(1, pixels)[0, :pixels],
        _aligned(1, _LINE + strip)[0, _LINE - 1 : _LINE + strip],
        _aligned(channels, strip + width),
        _aligned(2, pixels if constants.exact else 0),
    )
    _copy(state.u, planes.u, width)
    if constants.inertia > _ZERO:
        _copy(state.velocity, planes.velocity, width)
    _copy(state.z_horizontal, planes.z_right, width)
    _copy(state.z_vertical, planes.z_down, width)
    return planes


@_kernel
def _save(planes: Planes, k: int, state: ImageState) -> None:
    _, height, width = state.u.shape
    state.u[:] = to_image(planes.u, height, width)
    if planes.velocity.size:
        state.velocity[:] = to_image(planes.velocity, height, width)
    state.z_horizontal[:] = to_image(planes.z_right, height, width)[:, :, : width - 1]
    state.z_vertical[:] = to_image(planes.z_down, height, width)[:, : height - 1]
    state.iterations[0] = k


@_kernel
def _aligned(rows: int, size: int) -> Array:
    """[rows, ≥ size] zeros, each row beginning a cache line."""
    stride = -(-size // _LINE) * _LINE
    memory = np.zeros(rows * stride + _LINE, np.float32)
    first = -(memory.ctypes.data // memory.itemsize) % _LINE
    return memory[first : first + rows * stride].reshape((rows, stride))


@_kernel
def _copy(image: Array, planes: Array, width: int) -> None:
    """Put [C,≤H,≤W] at the upper left of planes W wide."""
    channels, rows, columns = image.shape
    for c in range(channels):
        for i in range(rows):
            for j in range(columns):
                planes[c, i * width + j] = image[c, i, j]


@_kernel
def to_image(planes: Array, height: int, width: int) -> Array:
    """A copy of planes as [C,H,W]."""
    return planes[:, : height * width].copy().reshape((len(planes), height, width))


@_leaf
def iterate(x: Array, planes: Planes, width: int, constants: Constants, solver: Solver) -> int:
    """One iteration on x [C,N]; returns the size of the new support."""
    size = _advance(x, planes, width, constants)
    if constants.exact:
        _equilibrate(x, planes, width, constants, solver)
    return size


@_leaf
def _advance(x: Array, planes: Planes, width: int, constants: Constants) -> int:
    """Eq. 5, strip by strip so that a large image stays in the cache; where u is solved for, z alone moves."""
    u, velocity, z_right, z_down, scale_right, scale_down, r_right, r_down, _ = planes
    pixels, strip = x.shape[1], r_right.size - 1
    for c in range(len(x)):
        for p in range(width):
            r_down[c, p] = _ZERO
    size = 0
    for start in range(0, pixels, strip):
        end = min(start + strip, pixels)
        for c in range(len(x)):
            here, r_c = u[c, start:end], r_down[c]
            right, down = z_right[c, start:end], z_down[c, start:end]
            there, below = u[c, start + 1 : end + 1], u[c, start + width : end + width]
            if constants.gray:
                _update_gray(here, there, right, r_right[1:], constants)
                _update_gray(here, below, down, r_c[width:], constants)
            else:
                _update(here, there, scale_right[start:end], right, r_right[1:], constants)
                _update(here, below, scale_down[start:end], down, r_c[width:], constants)
            _clear(right, r_right[1:], width - 1, width)
            if end == pixels:
                _clear(down, r_c[width:], end - start - width, 1)
            if constants.exact:
                continue
            if constants.inertia > _ZERO:
                _move(here, velocity[c, start:end], x[c, start:end], r_right, r_right[1:], r_c, r_c[width:], constants)
            else:
                _step(here, x[c, start:end], r_right, r_right[1:], r_c, r_c[width:], constants)
            for p in range(width):
                r_c[p] = r_c[end - start + p]
        size += _rescale(planes, start, end, constants)
    return size


@_loop
def _update(here: Array, there: Array, scale: Array, z: Array, r: Array, constants: Constants) -> None:
    """(5b) of one channel's edges in one direction; r is kept for the step of u."""
    z_step = constants.z_step
    for p in range(z.size):
        r[p] = (there[p] - here[p]) - scale[p] * z[p]
        z[p] = z[p] + z_step * r[p]


@_loop
def _update_gray(here: Array, there: Array, z: Array, r: Array, constants: Constants) -> None:
    """As `_update` where the image has one channel."""
    z_step, kappa = constants.z_step, constants.kappa
    for p in range(z.size):
        r[p] = (there[p] - here[p]) - kappa * (z[p] - min(max(z[p], -_ONE), _ONE))
        z[p] = z[p] + z_step * r[p]


@_loop
def _clear(z: Array, r: Array, first: int, every: int) -> None:
    """Set edges that do not exist back to 0."""
    for p in range(first, z.size, every):
        z[p] = _ZERO
        r[p] = _ZERO


@_loop
def _step(
    u: Array, x: Array, from_left: Array, to_right: Array, from_above: Array, to_below: Array, constants: Constants
) -> None:
    """(5a) of one channel; Dᵀr is the sum of r over the four edges around a pixel, with signs."""
    u_step, nu = constants.u_step, constants.nu
    for p in range(u.size):
        adjoint = ((from_left[p] - to_right[p]) + from_above[p]) - to_below[p]
        u[p] = u[p] - u_step * ((u[p] - x[p]) + nu * adjoint)


@_loop
def _move(
    u: Array,
    velocity: Array,
    x: Array,
    from_left: Array,
    to_right: Array,
    from_above: Array,
    to_below: Array,
    constants: Constants,
) -> None:
    """As `_step`, with inertia."""
    u_step, nu, inertia = constants.u_step, constants.nu, constants.inertia
    for p in range(u.size):
        adjoint = ((from_left[p] - to_right[p]) + from_above[p]) - to_below[p]
        velocity[p] = inertia * velocity[p] - u_step * ((u[p] - x[p]) + nu * adjoint)
    for p in range(u.size):
        u[p] = u[p] + velocity[p]


@_loop
def _rescale(planes: Planes, start: int, end: int, constants: Constants) -> int:
    """(8) as γ = scale·z for the edges at the pixels from start to end; returns how many are in the support."""
    right, down = planes.z_right, planes.z_down
    if constants.gray:
        return _count(right[0, start:end]) + _count(down[0, start:end])
    size = 0
    for z, scale in ((right, planes.scale_right), (down, planes.scale_down)):
        size += _shrink(z[0, start:end], z[1, start:end], z[2, start:end], scale[start:end], constants)
    return size


@_loop
def _shrink(z0: Array, z1: Array, z2: Array, scale: Array, constants: Constants) -> int:
    kappa = constants.kappa
    size = np.int32(0)
    for p in range(scale.size):
        squared = (z0[p] * z0[p] + z1[p] * z1[p]) + z2[p] * z2[p]
        factor = _ONE - _ONE / np.sqrt(max(squared, _ONE))
        scale[p] = kappa * factor
        size = np.int32(size + np.int32(factor > _ZERO))
    return int(size)


@_loop
def _count(z: Array) -> int:
    size = np.int32(0)
    for p in range(z.size):
        size = np.int32(size + np.int32(abs(z[p]) > _ONE))
    return int(size)


@_leaf
def _equilibrate(x: Array, planes: Planes, width: int, constants: Constants, solver: Solver) -> None:
    """(3a): u = (I + νDᵀD)⁻¹(x + νDᵀγ), as the correction u − (I + νDᵀD)⁻¹∇ᵤL, so that rounding hardly matters."""
    pixels = x.shape[1]
    gradient, spectrum = planes.work[0, :pixels], planes.work[1, :pixels]
    for c in range(len(x)):
        u = planes.u[c, :pixels]
        _gradient(x[c], planes, c, width, constants, gradient)
        _transform(gradient, solver.to_frequencies, spectrum)
        _eliminate(spectrum, solver.pivots, constants.nu)
        _transform(spectrum, solver.to_pixels, gradient)
        for p in range(pixels):
            u[p] = u[p] - gradient[p]


@_leaf
def _gradient(x: Array, planes: Planes, c: int, width: int, constants: Constants, out: Array) -> None:
    """∇ᵤL = (u−x) + νDᵀ(Du−γ) of one channel."""
    pixels, right, down, nu = x.size, planes.r_right, planes.r_down[c], constants.nu
    u, z_right, z_down = planes.u[c, :pixels], planes.z_right[c, :pixels], planes.z_down[c, :pixels]
    to_right, to_below = right[1:], down[width:]
    _residual(u, planes.u[c, 1 : pixels + 1], z_right, planes.scale_right, to_right, constants)
    _residual(u, planes.u[c, width : pixels + width], z_down, planes.scale_down, to_below, constants)
    _clear(z_right, to_right, width - 1, width)
    _clear(z_down, to_below, pixels - width, 1)
    for p in range(width):
        down[p] = _ZERO
    for p in range(pixels):
        adjoint = ((right[p] - to_right[p]) + down[p]) - to_below[p]
        out[p] = (u[p] - x[p]) + nu * adjoint


@_loop
def _residual(here: Array, there: Array, z: Array, scale: Array, r: Array, constants: Constants) -> None:
    kappa = constants.kappa
    if constants.gray:
        for p in range(z.size):
            r[p] = (there[p] - here[p]) - kappa * (z[p] - min(max(z[p], -_ONE), _ONE))
    else:
        for p in range(z.size):
            r[p] = (there[p] - here[p]) - scale[p] * z[p]


@_leaf
def _transform(source: Array, matrix: Array, target: Array) -> None:
    """Every row of the image `source` times a matrix [W,W], four terms at a time."""
    width = len(matrix)
    for start in range(0, source.size, width):
        row, out = source[start : start + width], target[start : start + width]
        for k in range(width):
            out[k] = _ZERO
        for j in range(0, width - 3, 4):
            a, b, c, d = row[j], row[j + 1], row[j + 2], row[j + 3]
            m0, m1, m2, m3 = matrix[j], matrix[j + 1], matrix[j + 2], matrix[j + 3]
            for k in range(width):
                out[k] = out[k] + ((a * m0[k] + b * m1[k]) + (c * m2[k] + d * m3[k]))
        for j in range(width - width % 4, width):
            a, m0 = row[j], matrix[j]
            for k in range(width):
                out[k] = out[k] + a * m0[k]


@_leaf
def _eliminate(b: Array, pivots: Array, nu: np.float32) -> None:
    """Solve each column's tridiagonal system, whose off-diagonal entries are −ν, in place (Thomas)."""
    height, width = pivots.shape
    rows = b.reshape((height, width))
    for k in range(width):
        rows[0, k] = rows[0, k] * pivots[0, k]
    for i in range(1, height):
        here, above, pivot = rows[i], rows[i - 1], pivots[i]
        for k in range(width):
            here[k] = (here[k] + nu * above[k]) * pivot[k]
    for i in range(height - 2, -1, -1):
        here, below, pivot = rows[i], rows[i + 1], pivots[i]
        for k in range(width):
            here[k] = here[k] + nu * pivot[k] * below[k]


@_kernel
def mark_support(planes: Planes, cut_right: Array, cut_down: Array, constants: Constants) -> bool:
    """Write into cut_right and cut_down [H,W] bool which edges have γ ≠ 0; returns whether an entry changed."""
    if constants.gray:
        right, down, bound = planes.z_right[0], planes.z_down[0], _ONE
    else:
        right, down, bound = planes.scale_right, planes.scale_down, _ZERO
    changed = _mark(right, bound, cut_right.ravel())
    return _mark(down, bound, cut_down.ravel()) or changed


@_loop
def _mark(values: Array, bound: np.float32, cut: Array) -> bool:
    changed = 0
    for p in range(cut.size):
        inside = abs(values[p]) > bound
        changed |= inside != cut[p]
        cut[p] = inside
    return changed > 0
