"""Baselines: the projection by the connected components of other libraries, as fast as their interfaces allow."""

from __future__ import annotations

import functools

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

Array = np.ndarray


def by_csgraph(image: Array, cut_h: Array, cut_v: Array) -> Array:
    """Component means of an image [C,H,W] by SciPy's `connected_components`, on a matrix of uncut edges [N,N].

    The matrix is made in its final form: building it from a list of edges would take longer.
    """
    height, width = image.shape[1:]
    joined = np.zeros((height, width, 2), bool)
    np.logical_not(cut_h, out=joined[:, :-1, 0])
    np.logical_not(cut_v, out=joined[:-1, :, 1])
    neighbours = _neighbours(height, width)[joined]
    starts = np.concatenate([[0], np.cumsum(joined.reshape(-1, 2).sum(1))], dtype=np.int32)
    matrix = csr_array((np.ones(neighbours.size), neighbours, starts), shape=(height * width,) * 2)
    return means(image, connected_components(matrix, directed=False)[1])


def by_label(image: Array, cut_h: Array, cut_v: Array) -> Array:
    """Component means of an image [C,H,W] by scikit-image's `label`, on a picture with a pixel for every uncut edge."""
    height, width = image.shape[1:]
    doubled = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    doubled[::2, ::2] = 1
    doubled[::2, 1::2] = ~cut_h
    doubled[1::2, ::2] = ~cut_v
    return means(image, label(doubled, connectivity=1)[::2, ::2].ravel())


@functools.lru_cache(maxsize=1)
def _neighbours(height: int, width: int) -> Array:
    """[H,W,2]: the numbers of the pixels to the right of each pixel and below it."""
    pixels = np.arange(height * width, dtype=np.int32).reshape(height, width)
    return np.stack([pixels + 1, pixels + width], 2)


def means(image: Array, labels: Array) -> Array:
    """Every pixel's mean over its component: image [C,H,W], labels [H·W]."""
    sizes = np.maximum(np.bincount(labels), 1)  # the numbers may begin at 1
    planes = [(np.bincount(labels, plane) / sizes)[labels] for plane in image.reshape(len(image), -1)]
    return np.stack(planes).reshape(image.shape).astype(image.dtype)
