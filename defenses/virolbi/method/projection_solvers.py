"""The projection by linear algebra: u − D⁺Du with D the rows of the uncut edges. Table 7 compares it with the graph.

In float64 on the CPU, one image at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from scipy import sparse
from scipy.sparse.linalg import lsqr

from harness.errors import UserError

LSQR_TOLERANCE = 1e-10
"""LSQR's `atol` and `btol`. ũ of images in [0,1] is then exact to 1e-7; by the other methods to 1e-13."""
_MOST_ENTRIES = 2**30
"""Entries of a dense matrix: 8 GiB, and twice that for the factors; the paper's 84×84 pixels need a tenth."""

Array = np.ndarray


def project_by(method: str, images: torch.Tensor, cut_h: torch.Tensor, cut_v: torch.Tensor) -> torch.Tensor:
    """The projection of images [B,C,H,W] for cuts [B,H,W−1] and [B,H−1,W] by one of `SOLVERS`, type and device kept.

    Raises: UserError where a dense method would need more memory than is reasonable.
    """
    solve = SOLVERS[method]
    projected = np.empty(images.shape)
    planes = images.detach().cpu().double().flatten(2).numpy()
    for b, image in enumerate(planes):
        rows = uncut_differences(cut_h[b].cpu().numpy(), cut_v[b].cpu().numpy())
        projected[b] = (image - solve(rows, image) if rows.shape[0] else image).reshape(projected.shape[1:])
    return torch.from_numpy(projected).to(images)


def uncut_differences(cut_h: Array, cut_v: Array) -> sparse.csr_array:
    """D of the uncut edges alone [E,H·W]: a row per edge, −1 at its first pixel and 1 at its second."""
    pixels = np.arange(len(cut_h) * cut_v.shape[1]).reshape(len(cut_h), cut_v.shape[1])
    first = np.concatenate([pixels[:, :-1][~cut_h], pixels[:-1][~cut_v]])
    second = np.concatenate([pixels[:, 1:][~cut_h], pixels[1:][~cut_v]])
    ends, signs = np.stack([first, second], 1).ravel(), np.tile([-1.0, 1.0], len(first))
    return sparse.csr_array((signs, ends, 2 * np.arange(len(first) + 1)), shape=(len(first), pixels.size))


def _by_lsqr(rows: sparse.csr_array, planes: Array) -> Array:
    """D⁺Du as the least solution y of Dy = Du (Paige and Saunders 1982), for planes u [C,N]."""
    limit = 20 * rows.shape[1]  # rounding can make it need more steps than there are pixels
    return np.stack([lsqr(rows, rows @ u, atol=LSQR_TOLERANCE, btol=LSQR_TOLERANCE, iter_lim=limit)[0] for u in planes])


def _by_svd(rows: sparse.csr_array, planes: Array) -> Array:
    """D⁺Du = VVᵀu with the right singular vectors of D whose singular values differ from 0 by more than rounding."""
    _, values, vectors = scipy.linalg.svd(_dense(rows, "svd"), full_matrices=False, overwrite_a=True)
    return _onto(vectors[values > _rounding(values[0], rows.shape)], planes)


def _by_qr(rows: sparse.csr_array, planes: Array) -> Array:
    """D⁺Du = QQᵀu with Q an orthonormal basis of the rows of D, from a QR factorisation of Dᵀ with pivoting."""
    dense = np.asfortranarray(_dense(rows, "qr").T)
    basis, triangle, _ = scipy.linalg.qr(dense, mode="economic", pivoting=True, overwrite_a=True)
    sizes = np.abs(np.diag(triangle))  # descending
    return _onto(basis.T[sizes > _rounding(sizes[0], rows.shape)], planes)


def _onto(basis: Array, planes: Array) -> Array:
    """The part of planes [C,N] that lies in the span of orthonormal rows."""
    return (planes @ basis.T) @ basis


def _rounding(largest: float, shape: tuple[int, int]) -> float:
    """Up to where a value counts as 0: the usual bound on rounding errors, as in `numpy.linalg.matrix_rank`."""
    return largest * max(shape) * float(np.finfo(float).eps)


def _dense(rows: sparse.csr_array, method: str) -> Array:
    edges, pixels = rows.shape
    if edges * pixels > _MOST_ENTRIES:
        raise UserError(
            f"method={method!r} needs the {edges}×{pixels} matrix of uncut edges in full, {edges * pixels / 2**27:.0f} "
            f"GiB; at most {_MOST_ENTRIES / 2**27:.0f} are allowed. Use method='graph' or 'lsqr'."
        )
    return rows.toarray()


SOLVERS: dict[str, Callable[[sparse.csr_array, Array], Array]] = {"lsqr": _by_lsqr, "qr": _by_qr, "svd": _by_svd}
