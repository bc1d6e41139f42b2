"""The kernels' arguments: named tuples of arrays, whose fields Numba knows by their position.

Numba's cache on disk does not notice a change of this file: whoever reorders fields changes `kernels.py` as well.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray


class Constants(NamedTuple):
    """The factors of Eq. 5 in float32, and the scheme."""

    kappa: np.float32
    nu: np.float32
    u_step: np.float32
    """(1−β)κα"""
    z_step: np.float32
    """αν"""
    inertia: np.float32
    """β"""
    gray: bool
    """One channel: soft thresholding instead of the shrinkage of norms."""
    exact: bool
    """Solve for u instead of stepping towards it."""


class Solver(NamedTuple):
    """(I + νDᵀD)⁻¹ for one shape: cosines along the rows, then elimination down the columns; empty unless needed."""

    to_frequencies: Array
    """[W,W] the orthonormal DCT-II, one frequency a column."""
    to_pixels: Array
    """[W,W] its inverse, one frequency a row."""
    pivots: Array
    """[H,W] one over the pivots of each frequency's tridiagonal system."""


class ImageState(NamedTuple):
    """Where the path of one image is: `trace.SolverState` without the batch axis, iterations [1]."""

    u: Array
    velocity: Array
    z_horizontal: Array
    z_vertical: Array
    iterations: Array


class Unprojected(NamedTuple):
    """One image at its stops, before the projection."""

    images: Array
    """[L,C,H,W]"""
    cut_right: Array
    """[L,H,W] bool: the edges to the right with γ ≠ 0."""
    cut_down: Array
    """[L,H,W] bool: the edges downwards with γ ≠ 0."""
    counts: Array
    """[L] edges in the support."""
    iterations: Array
    """[L]"""


class Planes(NamedTuple):
    """The state of one image of N pixels, W wide, and the work space of one strip of S pixels.

    The edge at pixel p leads right, to p+1, or down, to p+W; z and r of an edge that would leave its row or the image
    are 0. γ is not stored: it is scale·z with scale = κ(1 − 1/‖z_e‖)₊, and for one channel κ(z − clip(z)).
    """

    u: Array
    """[C,N+W], the last W unused."""
    velocity: Array
    """[C,N], empty without inertia."""
    z_right: Array
    """[C,N]"""
    z_down: Array
    """[C,N]"""
    scale_right: Array
    """[N]"""
    scale_down: Array
    """[N]"""
    r_right: Array
    """[S+1] of one channel: the residual Du − γ of the edge of the strip's pixel p at p+1, where it arrives."""
    r_down: Array
    """[C,S+W], of the edge of the strip's pixel p at p+W; the first W are those of the row above the strip."""
    work: Array
    """[2,N], empty unless u is solved for."""
