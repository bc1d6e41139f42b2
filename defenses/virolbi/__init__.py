"""ViRoLBI: inverse scale variational sparsification, which takes small-scale structure out of an image.

from defenses.virolbi import smooth

smoothed = smooth(images, level=0.6)  # [B,C,H,W] in [0,1]
smoothed.images, smoothed.level, smoothed.iterations, smoothed.outcome, smoothed.labels
"""

from .gradient import smooth_bpda
from .preprocessor import ViRoLBI
from .projection import component_means, project
from .settings import Scheme, hessian_norm
from .smoothing import Path, PathState, Smoothed, path, smooth

__all__ = [
    "Path",
    "PathState",
    "Scheme",
    "Smoothed",
    "ViRoLBI",
    "component_means",
    "hessian_norm",
    "path",
    "project",
    "smooth",
    "smooth_bpda",
]
