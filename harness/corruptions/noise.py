"""Noise that is independent in every channel element."""

from __future__ import annotations

import numpy as np

from harness.corruptions.base import Pixels, severities
from harness.registry import corruptions


@corruptions.register("gaussian_noise")
@severities(cifar=(0.04, 0.06, 0.08, 0.09, 0.10), imagenet=(0.08, 0.12, 0.18, 0.26, 0.38), elementwise=True)
def gaussian_noise(image: Pixels, rng: np.random.Generator, deviation: float) -> Pixels:
    """Normal noise, as of a sensor in low light."""
    return image + rng.normal(scale=deviation, size=image.shape)


@corruptions.register("shot_noise")
@severities(cifar=(500.0, 250.0, 100.0, 75.0, 50.0), imagenet=(60.0, 25.0, 12.0, 5.0, 3.0), elementwise=True)
def shot_noise(image: Pixels, rng: np.random.Generator, photons: float) -> Pixels:
    """Poisson counts, `photons` of them for full white."""
    return rng.poisson(image * photons) / photons


@corruptions.register("impulse_noise")
@severities(cifar=(0.01, 0.02, 0.03, 0.05, 0.07), imagenet=(0.03, 0.06, 0.09, 0.17, 0.27), elementwise=True)
def impulse_noise(image: Pixels, rng: np.random.Generator, share: float) -> Pixels:
    """Salt and pepper: a share of the channel elements becomes 0 or 1, either with equal chance."""
    chance = rng.random(image.shape)
    peppered = np.where(chance < share / 2, 0.0, image)
    return np.where(chance >= 1 - share / 2, 1.0, peppered)


@corruptions.register("speckle_noise")
@severities(cifar=(0.06, 0.10, 0.12, 0.16, 0.20), imagenet=(0.15, 0.20, 0.35, 0.45, 0.60), elementwise=True)
def speckle_noise(image: Pixels, rng: np.random.Generator, deviation: float) -> Pixels:
    """Normal noise in proportion to the brightness."""
    return image + image * rng.normal(scale=deviation, size=image.shape)
