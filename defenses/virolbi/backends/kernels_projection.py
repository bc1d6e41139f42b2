"""The Numba kernels of the projection: components of a partition and means over them, one image at a time.

As in `kernels`, all that call each other are in this file.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from ..._compiled import compiled

_kernel = compiled(nogil=True, error_model="numpy")

Array: TypeAlias = np.ndarray


@_kernel
def label_images(cut_right: Array, cut_down: Array, labels: Array) -> None:
    """`label_components` of several images, along the first axis."""
    for b in range(len(labels)):
        label_components(cut_right[b], cut_down[b], labels[b])


@_kernel
def label_components(cut_right: Array, cut_down: Array, labels: Array) -> int:
    """Number the components of one image's pixels joined by uncut edges into labels [H,W], in raster order.

    cut_right: [H,≥W−1] bool, the edges from (i,j) to (i,j+1); cut_down: [≥H−1,W], those to (i+1,j).
    Returns how many there are. A pixel takes the number of a joined pixel before it; numbers of one component are
    joined (union-find).
    """
    height, width = labels.shape
    parent = np.empty(height * width, np.int32)
    count = np.int32(0)
    for i in range(height):
        for j in range(width):
            with_left, with_above = j > 0 and not cut_right[i, j - 1], i > 0 and not cut_down[i - 1, j]
            if with_left:
                number = labels[i, j - 1]
                if with_above and labels[i - 1, j] != number:
                    number = _join(parent, number, labels[i - 1, j])
            elif with_above:
                number = labels[i - 1, j]
            else:
                number = count
                parent[count] = count
                count += 1
            labels[i, j] = number
    return _renumber(labels.ravel(), parent[:count])


@_kernel
def _join(parent: Array, p: int, q: int) -> int:
    """Make one component of two; the smaller number stands for it."""
    p, q = _root(parent, p), _root(parent, q)
    smaller, larger = min(p, q), max(p, q)
    parent[larger] = smaller
    return smaller


@_kernel
def _root(parent: Array, p: int) -> int:
    """The smallest number joined with p so far; the path to it is halved for the next call."""
    while parent[p] != p:
        parent[p] = parent[parent[p]]
        p = parent[p]
    return p


@_kernel
def _renumber(labels: Array, parent: Array) -> int:
    """Replace each number by the rank of its component; a parent comes before its children."""
    count = np.int32(0)
    for p in range(parent.size):
        if parent[p] == p:
            parent[p] = count
            count += 1
        else:
            parent[p] = parent[parent[p]]
    for p in range(labels.size):
        labels[p] = parent[labels[p]]
    return int(count)


@_kernel
def fill_images(values: Array, labels: Array, out: Array) -> None:
    """`fill_means` of several images, along the first axis."""
    for b in range(len(labels)):
        fill_means(values[b], labels[b], out[b])


@_kernel
def fill_means(values: Array, labels: Array, out: Array) -> None:
    """Every pixel's mean over its component, per channel: values and out [C,H,W]; out may be values."""
    parts = labels.ravel()
    sizes = component_sizes(parts, parts.max() + 1)
    for c in range(len(values)):
        average(values[c].ravel(), parts, sizes, out[c].ravel())


@_kernel
def component_sizes(labels: Array, count: int) -> Array:
    """[count] int64: the pixels of each component; labels [N]."""
    sizes = np.zeros(count, np.int64)
    for p in range(labels.size):
        sizes[labels[p]] += 1
    return sizes


@_kernel
def average(values: Array, labels: Array, sizes: Array, out: Array) -> None:
    """Component means of one plane, [N] each, summed in raster order in float64."""
    means = np.zeros(sizes.size)
    for p in range(labels.size):
        means[labels[p]] += values[p]
    for part in range(sizes.size):
        means[part] /= sizes[part]
    for p in range(labels.size):
        out[p] = means[labels[p]]
