"""ViRoLBI: inverse scale variational sparsification, which takes small-scale structure out of an image.

from defenses.virolbi import smooth

smoothed = smooth(images, level=0.6)  # [B,C,H,W] in [0,1]
smoothed.images, smoothed.level, smoothed.iterations, smoothed.outcome, smoothed.labels
"""

from typing import TYPE_CHECKING, Any

from .cross_validation import Choice, choose_level
from .gradient import smooth_bpda
from .preprocessor import ViRoLBI
from .projection import component_means, project
from .settings import Scheme, hessian_norm
from .smoothing import Path, PathState, Smoothed, path, smooth

if TYPE_CHECKING:
    from .transform import InverseScaleSmoothing

__all__ = [
    "Choice",
    "InverseScaleSmoothing",
    "Path",
    "PathState",
    "Scheme",
    "Smoothed",
    "ViRoLBI",
    "choose_level",
    "component_means",
    "hessian_norm",
    "path",
    "project",
    "smooth",
    "smooth_bpda",
]


def __getattr__(name: str) -> Any:
    """The transform, imported when it is asked for: torchvision takes as long to import as all the rest."""
    if name == "InverseScaleSmoothing":
        from .transform import InverseScaleSmoothing

        return InverseScaleSmoothing
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
