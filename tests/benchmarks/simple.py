"""The yardstick: the method as anyone would write it with Numba, in plain loops over [H,W,C]."""

from __future__ import annotations

import numpy as np
from numba import njit

compiled = njit(error_model="numpy", nogil=True)


@compiled
def step(x, u, z, gamma, r, kappa, nu, alpha):
    """One iteration of Eq. 5 on x [H,W,C], in place; returns the size of the support."""
    height, width, channels = x.shape
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                if j + 1 < width:
                    r[0, i, j, c] = u[i, j + 1, c] - u[i, j, c] - gamma[0, i, j, c]
                if i + 1 < height:
                    r[1, i, j, c] = u[i + 1, j, c] - u[i, j, c] - gamma[1, i, j, c]
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                gradient = -r[0, i, j, c] - r[1, i, j, c]
                if j > 0:
                    gradient += r[0, i, j - 1, c]
                if i > 0:
                    gradient += r[1, i - 1, j, c]
                u[i, j, c] -= kappa * alpha * (u[i, j, c] - x[i, j, c] + nu * gradient)
    support = 0
    for direction in range(2):
        for i in range(height):
            for j in range(width):
                squared = x.dtype.type(0)
                for c in range(channels):
                    z[direction, i, j, c] += alpha * nu * r[direction, i, j, c]
                    squared += z[direction, i, j, c] ** 2
                factor = max(x.dtype.type(0), 1 - 1 / np.sqrt(squared))
                support += factor > 0
                for c in range(channels):
                    gamma[direction, i, j, c] = kappa * factor * z[direction, i, j, c]
    return support


@compiled
def root(parent, p):
    while parent[p] != p:
        parent[p] = parent[parent[p]]
        p = parent[p]
    return p


@compiled
def join(parent, p, q):
    p, q = root(parent, p), root(parent, q)
    parent[max(p, q)] = min(p, q)


@compiled
def joined(gamma, direction, i, j):
    for c in range(gamma.shape[3]):  # noqa: SIM110 (a generator would be slower here)
        if gamma[direction, i, j, c] != 0:
            return False
    return True


@compiled
def project(u, gamma, out):
    """Eq. 6 by union-find: every pixel takes the mean of those it is joined with by edges of γ = 0."""
    height, width, channels = u.shape
    parent = np.arange(height * width)
    for i in range(height):
        for j in range(width):
            p = i * width + j
            if j + 1 < width and joined(gamma, 0, i, j):
                join(parent, p, p + 1)
            if i + 1 < height and joined(gamma, 1, i, j):
                join(parent, p, p + width)
    sums, counts = np.zeros((height * width, channels)), np.zeros(height * width)
    for p in range(height * width):
        top = root(parent, p)
        counts[top] += 1
        for c in range(channels):
            sums[top, c] += u[p // width, p % width, c]
    for p in range(height * width):
        top = root(parent, p)
        for c in range(channels):
            out[p // width, p % width, c] = sums[top, c] / counts[top]


@compiled
def follow(x, kappa, nu, alpha, count, projecting):
    """`count` iterations on x [H,W,C], with a projection in each or none; returns u or its projection, and γ."""
    u, out = np.zeros_like(x), np.zeros_like(x)
    z = np.zeros((2, *x.shape), x.dtype)
    gamma, r = np.zeros_like(z), np.zeros_like(z)
    for _ in range(count):
        step(x, u, z, gamma, r, kappa, nu, alpha)
        if projecting:
            project(u, gamma, out)
    return (out if projecting else u), gamma
