"""`smooth` and `path`: images at the point where their path reaches a sparsity level."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, overload

import numpy as np
import torch

from harness.errors import UserError

from .backends import backend_for
from .inputs import Kind, like, to_batch
from .method.reference import Edges, difference, support, support_size
from .method.settings import (
    Scheme,
    Settings,
    checked_counts,
    checked_level,
    checked_levels,
    edge_count,
    make_settings,
    required_edges,
    whole_number,
)
from .method.trace import Backend, SolverState, Trace

MAX_ITERATIONS = 200_000
DEFAULT_LEVEL = 0.6
GROUP_VALUES = 2**23
"""Values smoothed at a time; a path needs ten times the memory of its image."""
OUTCOMES = "<U14"
"""NumPy's type for the longest outcome."""


class Smoothed(NamedTuple, Generic[Kind]):
    """Smoothed images, and how the path of each ended; the fields of a single image have no batch axis."""

    images: Kind
    """[B,C,H,W] in [0,1], of the kind and on the device of the input."""
    level: Kind
    """[B] float64: the share of edges in the support."""
    iterations: Kind
    """[B] int64"""
    outcome: np.ndarray
    """[B] str: `reached`; `unreachable` where the image has too few unequal neighbours for the level, and is its own
    smoothed image; `max_iterations` where the path was cut short, and the image is that of its last iteration."""
    labels: Kind
    """[B,H,W] int32: the components of constant colour, numbered from 0 in raster order."""

    def __repr__(self: Smoothed[Any]) -> str:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in Counter(np.ravel(self.outcome).tolist()).items())
        return f"<Smoothed: {list(self.images.shape)}, {counts or 'none'}>"


class PathState(NamedTuple):
    """The paths of a batch, interrupted; `path` continues them."""

    settings: Settings
    state: SolverState
    images: torch.Tensor
    """[B,2] float64: two sums over the values of each image, which tell other images apart."""

    def __repr__(self) -> str:
        return f"<PathState: {list(self.state.u.shape)}, {self.settings}>"


@dataclasses.dataclass(frozen=True, eq=False)
class Path(Sequence[Smoothed[Kind]]):
    """The smoothed images at each stop of their paths, in the order asked for, and the state after the last."""

    stages: tuple[Smoothed[Kind], ...]
    state: PathState

    @overload
    def __getitem__(self, index: int) -> Smoothed[Kind]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Smoothed[Kind]]: ...

    def __getitem__(self, index: int | slice) -> Smoothed[Kind] | Sequence[Smoothed[Kind]]:
        return self.stages[index]

    def __len__(self) -> int:
        return len(self.stages)


def smooth(
    images: Kind,
    *,
    level: float | None = None,
    kappa: float = 5.0,
    nu: float = 1.0,
    step: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
    iterations: int | None = None,
    backend: str | None = None,
    scheme: Scheme = "paper",
) -> Smoothed[Kind]:
    """Remove what is small in scale; keep what is large, with sharp edges.

    The inverse scale space of total variation (ViRoLBI, Eq. 5): from a black image, edges enter a growing support,
    those of large features first. The path stops at the first iteration with at least `level` of all edges in the
    support, and the image is made constant wherever no edge of the support separates pixels (Prop. 1).

    images: [B,C,H,W] or [C,H,W], C 1 or 3, torch or NumPy, in [0,1]; uint8 is divided by 255. Everything is computed
      in float32 (in float64 for float64 images with `backend="reference"`).
    level: 0 to 1, default 0.6; larger keeps more detail, 1.0 is the original, 0 the black image at the start.
    kappa: larger follows the limit of no elastic-net term more closely, in more iterations.
    nu: coupling of image and edges; larger lets features enter by scale rather than by contrast, in more iterations.
    step: α; larger takes the path in fewer, coarser steps. It must be under 2/(κ‖H‖₂) with `paper`, 1/(κν) with
      `fast`, 2/(κν) with `exact`; None takes half of that, at ν < 1 of that for ν = 1.
    max_iterations: where a path ends that has not reached the level; its outcome is then `max_iterations`.
    iterations: stop after exactly so many iterations, not at a level; every outcome is then `reached`.
    backend: `cpu` (Numba), `cuda` (CUDA C++, NVIDIA GPUs), `reference` (PyTorch, any device), or None to choose by
      the images' device.
    scheme: `paper` is Eq. 5. `fast` follows the same path in a fifth of the iterations: the image moves with inertia,
      and so keeps up with its edges when these take larger steps. `exact` solves for the image in every iteration
      (Eq. 3a), which costs ten times as much and serves to check `fast`; it starts from an image in balance with its
      edges, not from black. At level 0.6, `fast` differs from `paper` by 0.02 of 255 grey levels on average
      (CIFAR-10, ν=1), at level 0.3 by 0.2; a single image can differ by more, where one edge more or less joins two
      large components. docs/smoothing.md has the figures by ν and level.

    The result of an image depends on nothing but the image. It is clipped to [0,1] once, at the end.

    >>> import numpy as np
    >>> step_edge = np.zeros((1, 4, 4), np.float32)
    >>> step_edge[:, :, 2:] = 0.8
    >>> smooth(step_edge, level=4 / 24).labels[0].tolist()
    [0, 0, 1, 1]

    Raises: UserError for unusable images or options outside their ranges.
    """
    if level is not None and iterations is not None:
        raise UserError(f"give either level or iterations, got level={level} and iterations={iterations}.")

    def work(part: Kind) -> Smoothed[Kind]:
        problem = make_problem(part, kappa, nu, step, backend, scheme)
        if iterations is not None:
            return _run_for(problem, [whole_number("iterations", iterations, least=0)])[0]
        return _run_to(problem, [checked_level(DEFAULT_LEVEL if level is None else level)], max_iterations)[0]

    shape = tuple(getattr(images, "shape", ()))
    size = max(1, GROUP_VALUES // max(1, math.prod(shape[1:])))
    return _in_groups(images, size, work) if len(shape) == 4 and shape[0] > size else work(images)


def path(
    images: Kind,
    *,
    levels: Iterable[float] | None = None,
    iterations: Iterable[int] | None = None,
    kappa: float = 5.0,
    nu: float = 1.0,
    step: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
    backend: str | None = None,
    scheme: Scheme = "paper",
    state: PathState | None = None,
) -> Path[Kind]:
    """The smoothed images at each of several ascending levels, or after several numbers of iterations.

    Each is exactly what `smooth` gives there, and all together cost what the last costs. The other options are those
    of `smooth`.

    state: of an earlier call with these images and settings; the path continues from it, and the state is not changed.
      An image whose path is beyond a level already is returned as it is there.

    >>> import numpy as np
    >>> ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 4, 4)
    >>> coarse = path(ramp, levels=[0.3, 0.6])
    >>> fine = path(ramp, levels=[0.9], state=coarse.state)
    >>> [round(float(stage.level), 2) for stage in (*coarse, *fine)]
    [0.5, 0.67, 1.0]

    Raises: UserError as `smooth`; for levels or iterations that are missing, descend or lie behind the state; and for
    a state of other settings or images.
    """
    problem = make_problem(images, kappa, nu, step, backend, scheme)
    current = _continued(problem, state)
    if (levels is None) == (iterations is None):
        raise UserError(f"give either levels or iterations, got {'neither' if levels is None else 'both'}.")
    if levels is not None:
        stages = _run_to(problem, checked_levels(levels), max_iterations, current)
    else:
        counts = checked_counts(iterations or ())
        passed = int(current.iterations.max()) if len(current.iterations) else 0
        if counts[0] < passed:
            raise UserError(f"the path stands at iteration {passed} already, got iterations={counts}.")
        stages = _run_for(problem, counts, current)
    return Path(tuple(stages), PathState(problem.settings, current, _sums(problem.batch)))


def _in_groups(images: Kind, size: int, work: Callable[[Kind], Smoothed[Kind]]) -> Smoothed[Kind]:
    """`work` on the whole batch, `size` images at a time, so that little but the result takes memory."""
    whole: list[Any] = []
    count = images.shape[0]
    for start in range(0, count, size):
        part = work(images[start : start + size])
        whole = whole or [_empty_like(field, count) for field in part]
        for field, values in zip(whole, part, strict=True):
            field[start : start + size] = values
    return Smoothed(*whole)


def _empty_like(part: torch.Tensor | np.ndarray, count: int) -> torch.Tensor | np.ndarray:
    """Memory for `count` images' values like those of the part."""
    if isinstance(part, torch.Tensor):
        return part.new_empty((count, *part.shape[1:]))
    return np.empty((count, *part.shape[1:]), OUTCOMES if part.dtype.kind == "U" else part.dtype)


class Problem(NamedTuple, Generic[Kind]):
    """A smoothing to compute, its options checked."""

    images: Kind
    """As the user gave them."""
    batch: torch.Tensor
    """[B,C,H,W]"""
    edges: int
    """|E|"""
    settings: Settings
    backend: Backend


def make_problem(
    images: Kind, kappa: float, nu: float, step: float | None, backend: str | None, scheme: Scheme
) -> Problem[Kind]:
    """The problem that a user's images and options pose. Raises: UserError for those that are unusable."""
    batch = to_batch(images, double=backend == "reference")
    height, width = batch.shape[-2:]
    settings = make_settings(height, width, kappa=kappa, nu=nu, step=step, scheme=scheme)
    return Problem(images, batch, edge_count(height, width), settings, backend_for(batch.device, backend))


def _continued(problem: Problem[Kind], given: PathState | None) -> SolverState:
    """A state to move along: a copy of the given one, or the start."""
    if given is None:
        return SolverState.start(problem.batch)
    if given.settings != problem.settings:
        raise UserError(f"the state belongs to a path with {given.settings}, got {problem.settings}.")
    before, expected = given.state.u, problem.batch
    if before.shape != expected.shape or before.dtype != expected.dtype:
        raise UserError(
            f"the state belongs to images of shape {list(before.shape)} and {before.dtype}, "
            f"got {list(expected.shape)} and {expected.dtype}."
        )
    if not torch.allclose(given.images.to(expected.device), _sums(expected), rtol=1e-9, atol=0):
        raise UserError("the state belongs to other images of the same shape.")
    return SolverState(*(part.detach().to(problem.batch.device, copy=True) for part in given.state))


def _sums(batch: torch.Tensor) -> torch.Tensor:
    """[B,2]: the sum of each image's values, and their sum with weights that rise from the first to the last."""
    values = batch.flatten(1).double()
    rising = torch.linspace(1, 2, values.shape[1], dtype=torch.float64, device=values.device)
    return torch.stack([values.sum(1), values @ rising], 1)


@torch.no_grad()
def _run_for(problem: Problem[Kind], counts: list[int], state: SolverState | None = None) -> list[Smoothed[Kind]]:
    batch = problem.batch
    never = torch.full((len(batch), 1), problem.edges + 1, device=batch.device)
    outcome = np.full(never.shape, "reached", OUTCOMES)
    return [_results(problem, _trace(problem, never, count, state), outcome)[0] for count in counts]


@torch.no_grad()
def _run_to(
    problem: Problem[Kind], levels: list[float], max_iterations: int, state: SolverState | None = None
) -> list[Smoothed[Kind]]:
    limit = whole_number("max_iterations", max_iterations, least=1)
    batch = problem.batch
    needed = torch.tensor([required_edges(level, problem.edges) for level in levels], device=batch.device)
    unequal = support(difference(batch))
    unreachable = needed > support_size(unequal)[:, None]
    stops = needed.expand_as(unreachable).masked_fill(unreachable, 0).cummax(1).values
    trace = _trace(problem, stops, limit, state)
    _put_the_image(problem, trace, unequal, unreachable)
    reached = (trace.counts >= needed).cpu().numpy()
    outcome = np.where(unreachable.cpu().numpy(), "unreachable", np.where(reached, "reached", "max_iterations"))
    outcome = outcome.astype(OUTCOMES)
    return _results(problem, trace, outcome)


def _trace(problem: Problem[Kind], stops: torch.Tensor, limit: int, state: SolverState | None) -> Trace:
    if not len(problem.batch):
        return Trace.empty(problem.batch, stops.shape[1])
    return problem.backend.trace(problem.batch, stops, problem.settings, limit, state)


def _put_the_image(problem: Problem[Kind], trace: Trace, unequal: Edges, unreachable: torch.Tensor) -> None:
    """Where a level is out of reach, put the path's limit: u = x, with every edge where Dx ≠ 0 in the support.

    Other edges may be in the support for some iterations, above all at large ν, and the support may then be as large as
    the level asks. That does not last, and so does not count as reached: the result takes no iterations and does not
    depend on `max_iterations`.
    An image of one pixel has no edges, and is its own result as well.
    """
    replaced = unreachable if problem.edges else torch.ones_like(unreachable)
    image = replaced.nonzero(as_tuple=True)[0]
    if len(image):
        trace.images[replaced] = problem.batch[image]
        trace.labels[replaced] = problem.backend.components(unequal.horizontal[image], unequal.vertical[image])
        trace.counts[replaced] = support_size(unequal)[image]
        trace.iterations[replaced] = 0


def _results(problem: Problem[Kind], trace: Trace, outcome: np.ndarray) -> list[Smoothed[Kind]]:
    """One result per stop, clipped to [0,1]."""
    images = problem.images
    share = trace.counts.double() / problem.edges if problem.edges else torch.ones_like(trace.counts).double()
    return [
        Smoothed(
            like(trace.images[:, stop].clamp(0, 1), images),
            like(share[:, stop], images),
            like(trace.iterations[:, stop], images),
            outcome[:, stop] if images.ndim == 4 else outcome[0, stop],
            like(trace.labels[:, stop], images),
        )
        for stop in range(outcome.shape[1])
    ]
