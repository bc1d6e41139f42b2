"""The parameters of the iteration and their limits: κ, ν, the step α, and the support that a level asks for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

from harness.errors import UserError, unknown_name

_SLACK = 1e-9
"""In edges: a level written 0.6000000000000001 asks for the same support as 0.6."""
_MARGIN = 0.9
"""Share of the bound on the image's step that `fast` uses."""

Scheme: TypeAlias = Literal["paper", "exact", "fast"]
"""How an iteration moves the image; see `smooth`."""
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
_FORMULAS: dict[Scheme, tuple[int, str]] = {"paper": (2, "2/(κ‖H‖)"), "exact": (2, "2/(κν)"), "fast": (1, "1/(κν)")}
"""The bound of each scheme's step: its numerator, and how it is written."""


class Settings(NamedTuple):
    """κ, ν and α as Eq. 5 uses them, and how the image moves: the scheme, and the inertia β of `fast`."""

    kappa: float
    nu: float
    step: float
    scheme: Scheme = "paper"
    inertia: float = 0.0

    @property
    def u_step(self) -> float:
        """The factor of the gradient in u: κα, less the share that inertia makes up for over the iterations."""
        return (1 - self.inertia) * self.kappa * self.step

    @property
    def z_step(self) -> float:
        """The factor of Du − γ in z: αν."""
        return self.step * self.nu


def make_settings(
    height: int, width: int, *, kappa: float, nu: float, step: float | None, scheme: Scheme = "paper"
) -> Settings:
    """Checked settings for a grid; `step` None gives half of its bound, at ν < 1 of the bound for ν = 1.

    At small ν a longer step would follow the path too coarsely. Linearised, Eq. 5 is stable for α under 2/(κ‖H‖₂).
    With u solved for, γ alone moves, by κα·ν times an operator between 0 and 1, which is stable for α under 2/(κν).
    So is `fast`, see `inertia_for`; but close to that bound it needs so much inertia that u lags behind, and its bound
    is therefore 1/(κν).

    Raises: UserError for an unknown scheme, when κ or ν is not positive, or α is outside its bounds.
    """
    kappa, nu, scheme = positive("kappa", kappa), positive("nu", nu), checked_scheme(scheme)
    bound = _FORMULAS[scheme][0] / (kappa * (hessian_norm(height, width, nu) if scheme == "paper" else nu))
    if step is None:
        step = bound / 2 * (1 if scheme == "paper" else min(nu, 1))
    step = positive("step", step)
    if step >= bound:
        raise UserError(
            f"step must be under {_FORMULAS[scheme][1]} = {bound:.6g} with scheme={scheme}, "
            f"kappa={kappa:g}, nu={nu:g} and {height}×{width} pixels, got {step:g}. "
            "Leave it out to take half of the bound."
        )
    inertia = inertia_for(height, width, kappa=kappa, nu=nu, step=step) if scheme == "fast" else 0.0
    return Settings(kappa, nu, step, scheme, inertia)


def inertia_for(height: int, width: int, *, kappa: float, nu: float, step: float) -> float:
    """The β with which u ← u + v, v ← βv − (1−β)κα∇ᵤL is linearly stable beside z ← z − α∇ᵧL, for α under 2/(κν).

    Let a = (1−β)κα and c = νκα. Linearised, with W = c times the derivative of shrink (0 ≤ W ≤ c), and B the
    diagonal matrix of β for u and 0 for γ, an iteration is q ← (I + B − K)q − Bq₋ with the symmetric
    K = [[a(I+νDᵀD), −√(aν) DᵀW^½], [−√(aν) W^½D, W]]. For a unit eigenvector e of growth ω its product with e* is
    ω² − (1 + b − k)ω + b = 0, b = e*Be < 1, k = e*Ke ≥ 0, and both roots are within the unit circle when
    k ≤ 2(1 + b). So it is enough that 2(I + B) − K is positive, that is, by its Schur complement,
    (2(1+β) − a(1+νs²))(2−c) > aνs²c, with s² ≤ 8 the largest eigenvalue of DᵀD; without inertia that is
    α < 2/(κ‖H‖₂). Solved for β, with a tenth to spare.
    """
    c = nu * kappa * step
    q = c * (2 - c + 2 * nu * _largest_eigenvalue(height, width)) / (2 * nu * (2 - c))
    return max(0.0, (q - _MARGIN) / (q + _MARGIN))


def hessian_norm(height: int, width: int, nu: float = 1.0) -> float:
    """‖H‖₂, the largest eigenvalue of the Hessian of ½‖u−x‖² + (ν/2)‖Du−γ‖² in (u, γ), in closed form.

    DᵀD of the grid has the eigenvalues of two path graphs added up, the largest being s²; on its eigenvector H
    is the 2×2 matrix [[1+νs², −νs], [−νs, ν]].

    >>> round(hessian_norm(32, 32), 4)
    9.8795
    """
    trace = 1 + nu * (_largest_eigenvalue(height, width) + 1)
    return (trace + math.sqrt(trace**2 - 4 * nu)) / 2


def _largest_eigenvalue(height: int, width: int) -> float:
    """s² of DᵀD."""
    return 4 * sum(math.sin(math.pi * (n - 1) / (2 * n)) ** 2 for n in (height, width))


def edge_count(height: int, width: int) -> int:
    """|E|: pairs of horizontal and vertical neighbours.

    >>> edge_count(32, 32)
    1984
    """
    return height * (width - 1) + (height - 1) * width


def required_edges(level: float, edges: int) -> int:
    """The smallest support whose share of `edges` is at least `level`."""
    return math.ceil(level * edges - _SLACK)


def checked_scheme(scheme: Any) -> Scheme:
    """One of the schemes. Raises: UserError for anything else."""
    if scheme not in SCHEMES:
        raise unknown_name("scheme", str(scheme), SCHEMES)
    return cast(Scheme, scheme)


def checked_level(level: Any, name: str = "level") -> float:
    """A sparsity level. Raises: UserError outside [0,1]."""
    number = float(level) if isinstance(level, Real) else math.nan
    if not 0 <= number <= 1:
        raise UserError(f"{name} must be a number from 0 to 1 (the share of edges kept), got {level!r}.")
    return number


def checked_levels(levels: Iterable[Any]) -> list[float]:
    """Levels of one path. Raises: UserError when there are none or they descend."""
    if isinstance(levels, Real):
        raise UserError(f"levels must be several levels, such as [{levels}], got {levels}.")
    checked = [checked_level(level, "each of levels") for level in levels]
    if not checked:
        raise UserError("levels must hold at least one level, got none.")
    if sorted(checked) != checked:
        raise UserError(f"levels must ascend, because the path only goes towards finer detail, got {checked}.")
    return checked


def checked_counts(counts: Iterable[Any]) -> list[int]:
    """Numbers of iterations of one path. Raises: UserError when there are none or they descend."""
    if isinstance(counts, Real):
        raise UserError(f"iterations must be several numbers, such as [{counts}], got {counts}.")
    checked = [whole_number("each of iterations", count, least=0) for count in counts]
    if not checked:
        raise UserError("iterations must hold at least one number, got none.")
    if sorted(checked) != checked:
        raise UserError(f"iterations must ascend, got {checked}.")
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
