"""The numbers of the iteration and their limits: κ, ν, the step α, and what a sparsity level asks for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, NamedTuple

from harness.errors import UserError

_SLACK = 1e-9
"""Of an edge: a level written 0.6000000000000001 asks for the same support as 0.6."""


class Settings(NamedTuple):
    """κ, ν and α as Eq. 5 uses them."""

    kappa: float
    nu: float
    step: float


def make_settings(height: int, width: int, *, kappa: float, nu: float, step: float | None) -> Settings:
    """Checked settings for a grid; `step` None gives α = 1/(κ‖H‖₂).

    Raises: UserError when κ or ν is not positive, or α is not between 0 and 2/(κ‖H‖₂), where the iteration
    would diverge.
    """
    kappa, nu = positive("kappa", kappa), positive("nu", nu)
    bound = 2 / (kappa * hessian_norm(height, width, nu))
    step = bound / 2 if step is None else positive("step", step)
    if step >= bound:
        raise UserError(
            f"step must be under 2/(κ‖H‖) = {bound:.6g} at kappa={kappa:g}, nu={nu:g} and {height}×{width} pixels, "
            f"got {step:g}. Leave it out to take half of the bound."
        )
    return Settings(kappa, nu, step)


def hessian_norm(height: int, width: int, nu: float = 1.0) -> float:
    """‖H‖₂, the largest eigenvalue of the Hessian of ½‖u−x‖² + (ν/2)‖Du−γ‖² in (u, γ), in closed form.

    DᵀD of the grid has the eigenvalues of two path graphs added up, the largest being s²; on its eigenvector H
    is the 2×2 matrix [[1+νs², −νs], [−νs, ν]].

    >>> round(hessian_norm(32, 32), 4)
    9.8795
    """
    s_squared = 4 * sum(math.sin(math.pi * (n - 1) / (2 * n)) ** 2 for n in (height, width))
    trace = 1 + nu * (s_squared + 1)
    return (trace + math.sqrt(trace**2 - 4 * nu)) / 2


def edge_count(height: int, width: int) -> int:
    """|E|: pairs of horizontal and vertical neighbours.

    >>> edge_count(32, 32)
    1984
    """
    return height * (width - 1) + (height - 1) * width


def required_edges(level: float, edges: int) -> int:
    """The smallest support whose share of `edges` is at least `level`."""
    return math.ceil(level * edges - _SLACK)


def checked_level(level: Any, name: str = "level") -> float:
    """A sparsity level. Raises: UserError outside [0,1]."""
    number = float(level) if isinstance(level, Real) else math.nan
    if not 0 <= number <= 1:
        raise UserError(f"{name} must be a number from 0 to 1 (the share of edges kept), got {level!r}.")
    return number


def checked_levels(levels: Iterable[Any]) -> list[float]:
    """Levels of one path. Raises: UserError when there are none or they descend."""
    checked = [checked_level(level, "each of levels") for level in levels]
    if not checked:
        raise UserError("levels must hold at least one level, got none.")
    if sorted(checked) != checked:
        raise UserError(f"levels must ascend, because the path only goes towards finer detail, got {checked}.")
    return checked


def positive(name: str, value: Any) -> float:
    """A finite number above zero. Raises: UserError for anything else."""
    number = float(value) if isinstance(value, Real) else math.nan
    if not 0 < number < math.inf:
        raise UserError(f"{name} must be a positive number, got {value!r}.")
    return number


def whole_number(name: str, value: Any, *, least: int) -> int:
    """An integer. Raises: UserError under `least` or for anything else."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    return int(value)
