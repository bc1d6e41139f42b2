"""ViRoLBI as the paper writes it, batched, in PyTorch on any device; it defines what the other backends compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn.functional import pad

from .settings import Settings
from .trace import SolverState, Trace


class Edges(NamedTuple):
    """One value per edge and channel: between horizontal and between vertical neighbours."""

    horizontal: torch.Tensor
    """[B,C,H,W−1]: the edge from (i,j) to (i,j+1)."""
    vertical: torch.Tensor
    """[B,C,H−1,W]: the edge from (i,j) to (i+1,j)."""


class Iterate(NamedTuple):
    """The variables of the iteration."""

    u: torch.Tensor
    """[B,C,H,W]: the image."""
    velocity: torch.Tensor
    """[B,C,H,W]: the last change of u."""
    z: Edges
    """The dual variable of the edges."""
    gamma: Edges
    """γ = κ·shrink(z)."""


def difference(u: torch.Tensor) -> Edges:
    """Du: for every edge, the second pixel minus the first (Eq. 1)."""
    return Edges(u[..., :, 1:] - u[..., :, :-1], u[..., 1:, :] - u[..., :-1, :])


def adjoint(p: Edges) -> torch.Tensor:
    """Dᵀp: at every pixel, the sum of p over the edges that end there minus that over the edges that start there."""
    from_left, to_right = pad(p.horizontal, (1, 0)), pad(p.horizontal, (0, 1))
    from_above, to_below = pad(p.vertical, (0, 0, 1, 0)), pad(p.vertical, (0, 0, 0, 1))
    return from_left - to_right + from_above - to_below


def start(x: torch.Tensor, settings: Settings) -> Iterate:
    """z = γ = 0 and u = 0; with `exact`, the u in balance with that γ."""
    zero = torch.zeros_like(x)
    gamma = difference(zero)
    u = equilibrium(x, zero, gamma, settings.nu) if settings.scheme == "exact" else zero
    return Iterate(u, zero, gamma, gamma)


def step(x: torch.Tensor, at: Iterate, settings: Settings) -> Iterate:
    """One iteration of Eq. 5, with both gradients at the old u and γ; `smooth` says how the schemes differ."""
    kappa, nu = settings.kappa, settings.nu
    u, velocity, z, gamma = at
    r = _each(lambda du, g: du - g, difference(u), gamma)
    z = _each(lambda z_e, r_e: z_e + settings.z_step * r_e, z, r)  # (5b): ∇ᵧL = −ν(Du−γ)
    gamma = _each(lambda z_e: shrink(z_e, kappa), z)  # (5c), and (8) for colour
    if settings.scheme == "exact":
        return Iterate(equilibrium(x, u, gamma, nu), velocity, z, gamma)
    move = settings.inertia * velocity - settings.u_step * ((u - x) + nu * adjoint(r))
    return Iterate(u + move, move if settings.inertia else velocity, z, gamma)  # (5a): ∇ᵤL = (u−x) + νDᵀ(Du−γ)


def equilibrium(x: torch.Tensor, u: torch.Tensor, gamma: Edges, nu: float) -> torch.Tensor:
    """(3a), the u at which ∇ᵤL = 0; from any u, as a correction to it, so that rounding hardly matters."""
    r = _each(lambda du, g: du - g, difference(u), gamma)
    return u - solve((u - x) + nu * adjoint(r), nu)


def solve(b: torch.Tensor, nu: float) -> torch.Tensor:
    """(I + νDᵀD)⁻¹b: cosines diagonalise DᵀD, and its eigenvalues are the sums of those of the two directions."""
    height, width = b.shape[-2:]
    down, across = (cosines(n).to(b) for n in (height, width))
    eigenvalues = (path_eigenvalues(height)[:, None] + path_eigenvalues(width)).to(b)
    spectrum = _along_both(b, down, across) / (1 + nu * eigenvalues)
    return _along_both(spectrum, down.T, across.T)


def shrink(z: torch.Tensor, kappa: float) -> torch.Tensor:
    """γ = κ·prox(z) per edge: (1 − 1/‖z_e‖)₊ z_e over the channels (Eq. 8), which is soft thresholding for one."""
    if z.shape[1] == 1:
        return kappa * (z - z.clamp(-1, 1))
    norm = _sum_channels(z * z).clamp(min=1).sqrt()  # in this order, so that there is a derivative at 0
    return (kappa * (1 - 1 / norm)) * z


def support(gamma: Edges) -> Edges:
    """[B,H,W−1] and [B,H−1,W] bool: the edges with γ ≠ 0 in some channel."""
    return _each(lambda g: (g != 0).any(1), gamma)


def support_size(cut: Edges) -> torch.Tensor:
    """[B] int64: how many edges are in the support."""
    return cut.horizontal.sum((1, 2)) + cut.vertical.sum((1, 2))


def trace(
    images: torch.Tensor, stops: torch.Tensor, settings: Settings, max_iterations: int, state: SolverState | None = None
) -> Trace:
    """Iterate until the support of image b has `stops[b,l]` edges for every l, and project there (Eq. 6).

    images: [B,C,H,W].
    stops: [B,L] int64, not descending along l. An image leaves the batch at its last stop; stops that are not reached
      after `max_iterations` get the image of that iteration.
    state: the paths so far, moved along in place; None starts them and keeps nothing.
    """
    result = Trace.empty(images, stops.shape[1])
    state = SolverState.start(images) if state is None else state
    recorded = torch.zeros_like(stops, dtype=torch.bool)
    running = torch.arange(len(images), device=images.device)
    x, k, at = images, state.iterations.clone(), _resume(images, state, settings)
    while len(running):
        cut = support(at.gamma)
        size = support_size(cut)
        due = (size[:, None] >= stops[running]) | (k >= max_iterations)[:, None]
        fresh = due & ~recorded[running]
        if fresh.any():
            _record(result, running, fresh, at.u, cut, size, k)
            recorded[running] |= fresh
            done = due[:, -1]
            _keep(state, running[done], _take(at, done), k[done])
            running, x, k, at = running[~done], x[~done], k[~done], _take(at, ~done)
        at = step(x, at, settings)
        k = k + 1
    return result


def components(cut_horizontal: torch.Tensor, cut_vertical: torch.Tensor) -> torch.Tensor:
    """[B,H,W] int32: 4-neighbour components of the pixels joined by uncut edges, numbered in raster order.

    Every pixel takes the smallest pixel number among its own and its neighbours', then that pixel's number in
    turn, until nothing changes; the smallest number of a component is then known to all of it.
    """
    count, height, width = len(cut_vertical), cut_horizontal.shape[1], cut_vertical.shape[2]
    cut = Edges(cut_horizontal, cut_vertical)
    own = torch.arange(height * width, device=cut_vertical.device).repeat(count, 1)
    number = own
    while True:
        smaller = _smallest_neighbour(number.view(count, height, width), cut).flatten(1)
        smaller = smaller.gather(1, smaller)
        if torch.equal(smaller, number):
            break
        number = smaller
    rank = (number == own).cumsum(1) - 1
    return rank.gather(1, number).view(count, height, width).int()


def component_means(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Every pixel's mean over its component, per channel (Prop. 1), summed in float64.

    values: [B,C,H,W]; labels: [B,H,W]. The map is linear and its own adjoint.
    """
    count, channels, height, width = values.shape
    pixels = height * width
    rows = torch.arange(count * channels, device=values.device).view(count, channels, 1)
    index = (labels.reshape(count, 1, pixels).long() + rows * pixels).flatten()
    flat = values.reshape(-1).double()
    sums = torch.zeros_like(flat).index_add_(0, index, flat)
    sizes = torch.zeros_like(flat).index_add_(0, index, torch.ones_like(flat))
    return (sums / sizes)[index].view_as(values).to(values.dtype)


def _resume(x: torch.Tensor, state: SolverState, settings: Settings) -> Iterate:
    """The iterate of a state, which holds no γ."""
    z = Edges(state.z_horizontal, state.z_vertical)
    initial = start(x, settings)
    u = torch.where((state.iterations > 0).view(-1, 1, 1, 1), state.u, initial.u)
    return Iterate(u, state.velocity, z, _each(lambda z_e: shrink(z_e, settings.kappa), z))


def _keep(state: SolverState, rows: torch.Tensor, at: Iterate, k: torch.Tensor) -> None:
    """Write iterates [A,…] into those rows of the state."""
    for target, source in zip(state, (at.u, at.velocity, *at.z, k), strict=True):
        target[rows] = source


def _record(
    result: Trace,
    running: torch.Tensor,
    fresh: torch.Tensor,
    u: torch.Tensor,
    cut: Edges,
    size: torch.Tensor,
    k: torch.Tensor,
) -> None:
    """Put ũ of iterations k [A] into the result where `fresh` [A,L] says that an image has just reached a stop."""
    rows = fresh.any(1)
    labels = components(cut.horizontal[rows], cut.vertical[rows])
    smoothed = component_means(u[rows], labels)
    row, stop = fresh[rows].nonzero(as_tuple=True)
    place = (running[rows][row], stop)
    result.images[place] = smoothed[row]
    result.labels[place] = labels[row]
    result.counts[place] = size[rows][row]
    result.iterations[place] = k[rows][row]


def _smallest_neighbour(number: torch.Tensor, cut: Edges) -> torch.Tensor:
    """[B,H,W]: the smallest of a pixel's number and those of its joined neighbours."""
    beyond = number[0].numel()
    across = torch.minimum(number[:, :, 1:], number[:, :, :-1]).masked_fill(cut.horizontal, beyond)
    down = torch.minimum(number[:, 1:], number[:, :-1]).masked_fill(cut.vertical, beyond)
    smallest = number.clone()
    for view, candidate in (
        (smallest[:, :, 1:], across),
        (smallest[:, :, :-1], across),
        (smallest[:, 1:], down),
        (smallest[:, :-1], down),
    ):
        view.copy_(torch.minimum(view, candidate))
    return smallest


def _each(function: Callable[..., torch.Tensor], *edges: Edges) -> Edges:
    """Apply a function to the horizontal and to the vertical parts."""
    return Edges(*(function(*parts) for parts in zip(*edges, strict=True)))


def _sum_channels(z: torch.Tensor) -> torch.Tensor:
    """The sum over the channels, in their order, so that it does not depend on the batch or the device."""
    total = z[:, :1]
    for channel in range(1, z.shape[1]):
        total = total + z[:, channel : channel + 1]
    return total


def _take(at: Iterate, rows: torch.Tensor) -> Iterate:
    """The iterates of some images of the batch."""

    def pick(part: torch.Tensor) -> torch.Tensor:
        return part[rows]

    return Iterate(pick(at.u), pick(at.velocity), _each(pick, at.z), _each(pick, at.gamma))


def cosines(n: int) -> torch.Tensor:
    """[n,n] float64: the orthonormal DCT-II, one frequency a row."""
    frequency, place = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    waves = torch.cos(math.pi * frequency * (2 * place + 1) / (2 * n)) * math.sqrt(2 / n)
    waves[0] /= math.sqrt(2)
    return waves


def path_eigenvalues(n: int) -> torch.Tensor:
    """[n] float64: the eigenvalues of DᵀD for n pixels in a row, by frequency."""
    return 2 - 2 * torch.cos(math.pi * torch.arange(n, dtype=torch.float64) / n)


def _along_both(images: torch.Tensor, down: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
    """down · image · acrossᵀ for every channel of every image; one product each, so that batch-mates do not matter."""
    planes = images.flatten(0, 1)
    left, right = (matrix.expand(len(planes), -1, -1) for matrix in (down, across.T))
    return torch.bmm(torch.bmm(left, planes), right).view_as(images)
