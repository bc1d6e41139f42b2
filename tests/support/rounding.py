"""How far float32 may be from float64, in any order of its operations and on any machine; by what tests judge it.

Two float32 computations in another order are no oracle for each other: each is held to the reference in float64.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from defenses.virolbi import PathState, Smoothed, path
from defenses.virolbi.method import reference
from defenses.virolbi.method.reference import Edges
from defenses.virolbi.method.settings import Settings, edge_count, required_edges
from defenses.virolbi.method.trace import SolverState

EPS = torch.finfo(torch.float32).eps
"""The distance from 1 to the next float32; a rounding is off by at most half of it, relatively."""
_ROUNDINGS = 20
"""On the longest way from an iterate to the next: 3 for Du − γ besides the 8 in γ = κ(1 − 1/√(a²+b²+c²))·a, 3 for the
sum over four edges, 2 for what each constant and its product lose, 4 for the sums with u − x, velocity and u."""
_START = 4
"""What an iteration with `exact` starts from is solved for, by sums over a row, of numbers up to 1."""


def drift(iterations: int) -> float:
    """How far u and z may be from float64's after so many iterations from the same start: one EPS for each, and _START.

    Every iteration adds to z, whose size stays under 2, and so rounds it by up to EPS/2. Near the end of a path the
    same small amount is added over and over and is rounded the same way each time, so that the errors add up in
    proportion to the iterations, not to their square root. What u and γ are rounded by is left another EPS/2; it
    counts for less than that, by the step sizes it is multiplied with.

    The errors of single iterations are not amplified by the later ones. Eq. 5 is v ← v − ακ H·prox(v) + const with
    v = (u/κ, z). As ⟨v−w, prox v − prox w⟩ ≥ ‖prox v − prox w‖², in the norm of H⁻¹ two states never part as long as
    α < 2/(κ‖H‖); with u solved for, the same holds for z, H being its Schur complement. `fast` is stable in the sense
    of `settings.inertia_for`. That norm is over all pixels; that no single one gets more than its share is measured:
    at most a quarter of this bound, for all schemes, ν from 1/4 to 64, sizes up to 33×40 and 1 to 3,000 iterations.
    """
    return (iterations + _START) * EPS


def transformed(pixels: int) -> float:
    """How far what came of a Fourier transform there and back of so many pixels in [0,1] may be from another's.

    Each of log₂ n stages loses at most 6 roundings relative to the length of the whole (Higham 2002, Theorem 24.2),
    which is spread over the pixels; twice for there and back, and twice for two computations.
    """
    return 4 * 6 * math.log2(pixels) * EPS / 2


def decided(model: torch.nn.Module, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The classes predicted in float64, and for which images no float32 can say anything else.

    A sum of n products in any order is off by at most n·EPS/2 of the sum of their sizes. A thousand is more than the
    layers of a small network add up, one after the other.
    """
    exact = copy.deepcopy(model).double()
    with torch.no_grad():
        logits = torch.cat([exact(part.double()) for part in images.split(500)])
    first, second = logits.topk(2).values.unbind(1)
    return logits.argmax(1).numpy(), (first - second > 1000 * EPS * logits.abs().amax(1)).numpy()


class Truth:
    """The paths of images [B,C,H,W] in float64, by the reference."""

    def __init__(self, images: torch.Tensor, **settings) -> None:
        self._images, self._settings = images.double(), settings
        self._states: dict[int, PathState] = {}

    def at(self, iterations: int) -> SolverState:
        """Where they stand after so many iterations."""
        if iterations not in self._states:
            passed = max((k for k in self._states if k < iterations), default=None)
            state = None if passed is None else self._states[passed]
            found = path(self._images, iterations=[iterations], state=state, backend="reference", **self._settings)
            self._states[iterations] = found.state
        return self._states[iterations].state

    def walk(self, *results: Smoothed) -> Truth:
        """Go once along the path, past all iterations that the judgement of these results asks for."""
        for k in sorted({max(k - back, 0) for found in results for k in found.iterations.tolist() for back in (0, 1)}):
            self.at(k)
        return self

    def supports(self, image: int, iterations: int) -> tuple[Edges, Edges]:
        """The edges that are in an image's support whatever rounding does, and those that rounding may put there."""
        state, slack = self.at(iterations), drift(iterations) * self._images.shape[1] ** 0.5
        norms = [z[image].norm(dim=0) for z in (state.z_horizontal, state.z_vertical)]
        return Edges(*(norm > 1 + slack for norm in norms)), Edges(*(norm > 1 - slack for norm in norms))


def assert_states_within_rounding(found: SolverState, expected: SolverState) -> None:
    """After the same number of iterations, u, velocity and z of float32 are those of float64 but for rounding."""
    assert torch.equal(found.iterations, expected.iterations)
    bound = drift(int(expected.iterations.max()))
    for name, values in expected._asdict().items():
        torch.testing.assert_close(getattr(found, name).double(), values.double(), atol=bound, rtol=0, msg=name)


def assert_within_rounding(found: Smoothed, truth: Truth, *, level: float | None, max_iterations: int = 0) -> None:
    """Each image stopped where float64's path, taken with its rounding, reaches the level; its components are those of
    that path; and its pixels are the means of float64's u over them. `level` None: after a number of iterations.
    """
    for image, outcome in enumerate(found.outcome):
        k = int(found.iterations[image])
        _assert_the_stop(found, truth, image, level)
        if outcome == "max_iterations":
            assert k == max_iterations
        certain, possible = truth.supports(image, k)
        labels = found.labels[image]
        assert _refines(_components(possible), labels), (image, "parted what is joined")
        assert _refines(labels, _components(certain)), (image, "joined what is apart")
        means = reference.component_means(truth.at(k).u[image : image + 1], labels[None]).clamp(0, 1)
        torch.testing.assert_close(found.images[image].double(), means[0], atol=drift(k), rtol=0)


def _assert_the_stop(found: Smoothed, truth: Truth, image: int, level: float | None) -> None:
    k, edges = int(found.iterations[image]), edge_count(*found.images.shape[-2:])
    least, most = (_size(support) for support in truth.supports(image, k))
    assert least <= round(float(found.level[image]) * edges) <= most, (image, k)
    if level is None:
        return
    needed = required_edges(level, edges)
    if found.outcome[image] == "reached":
        assert most >= needed, (image, k, "stopped too early")
        assert k == 0 or _size(truth.supports(image, k - 1)[0]) < needed, (image, k, "stopped too late")
    else:
        assert least < needed, (image, k, "did not stop")


def assert_one_iteration_within_rounding(x: torch.Tensor, before: PathState, after: SolverState) -> None:
    """From the float32 state `before`, one iteration gave `after`: no value is off by more than its own roundings.

    Each operation is off by EPS/2 of its result, which is at most the sum of the sizes of all that went into it.
    Where u is solved for, the same bounds its gradient, which would be 0.
    """
    settings, at = before.settings, SolverState(*(part.double() for part in before.state[:-1]), before.state.iterations)
    x, unit = x.double(), _ROUNDINGS * EPS / 2
    expected = reference.step(x, _iterate(at, settings), settings)
    across, pull = _sizes(x, at, settings)
    moved = settings.inertia * at.velocity.abs() + settings.u_step * pull
    _assert_close(after.z_horizontal, expected.z.horizontal, unit * (at.z_horizontal.abs() + across.horizontal))
    _assert_close(after.z_vertical, expected.z.vertical, unit * (at.z_vertical.abs() + across.vertical))
    if settings.scheme != "exact":
        _assert_close(after.u, expected.u, unit * (at.u.abs() + moved))
        _assert_close(after.velocity, expected.velocity, unit * moved)
        return
    there = SolverState(*(part.double() for part in after[:-1]), after.iterations)
    r = [du - gamma for du, gamma in zip(reference.difference(there.u), _iterate(there, settings).gamma, strict=True)]
    gradient = (there.u - x) + settings.nu * reference.adjoint(Edges(*r))
    _assert_close(gradient, 0 * gradient, unit * _sizes(x, there, settings)[1])


def _assert_close(found: torch.Tensor, expected: torch.Tensor, bound: torch.Tensor) -> None:
    excess = (found.double() - expected).abs() - bound
    assert (excess <= 0).all(), f"beyond its roundings by {float(excess.max()):.2e}"


def _iterate(state: SolverState, settings: Settings) -> reference.Iterate:
    z = Edges(state.z_horizontal, state.z_vertical)
    gamma = Edges(*(reference.shrink(part, settings.kappa) for part in z))
    return reference.Iterate(state.u, state.velocity, z, gamma)


def _sizes(x: torch.Tensor, at: SolverState, settings: Settings) -> tuple[Edges, torch.Tensor]:
    """The sizes of all that is summed up in what z moves by, and in ∇ᵤL."""
    u, total = at.u.abs(), torch.zeros_like(at.u)
    across = settings.kappa * at.z_horizontal.abs() + u[..., 1:] + u[..., :-1]
    down = settings.kappa * at.z_vertical.abs() + u[..., 1:, :] + u[..., :-1, :]
    for view, sizes in ((total[..., 1:], across), (total[..., :-1], across), (total[..., 1:, :], down)):
        view += sizes
    total[..., :-1, :] += down
    moves = Edges(settings.z_step * across, settings.z_step * down)
    return moves, u + x.abs() + settings.nu * total


def _components(cut: Edges) -> torch.Tensor:
    return reference.components(cut.horizontal[None], cut.vertical[None])[0]


def _refines(fine: torch.Tensor, coarse: torch.Tensor) -> bool:
    """Whether every component of the one lies within one of the other."""
    pairs = torch.stack([fine.flatten(), coarse.flatten()]).unique(dim=1)
    return pairs.shape[1] == fine.unique().numel()


def _size(support: Edges) -> int:
    return int(support.horizontal.sum() + support.vertical.sum())
