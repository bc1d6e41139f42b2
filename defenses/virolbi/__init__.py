"""ViRoLBI: inverse scale variational sparsification, which removes small-scale structure from an image.

from defenses.virolbi import smooth

smoothed = smooth(images, level=0.6)  # [B,C,H,W] in [0,1]
smoothed.images, smoothed.level, smoothed.iterations, smoothed.outcome, smoothed.labels

Where things are: `method` states the equations, `backends` run them, `smoothing` and `projection` are what users call,
`gradient` differentiates them, `preprocessor` and `training` serve the defenses, `apps` serve pictures.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .apps.choose_level import Choice, choose_level
    from .apps.transform import InverseScaleSmoothing
    from .gradient.frozen import smooth_bpda
    from .method.settings import Scheme, hessian_norm
    from .preprocessor import ViRoLBI
    from .projection import component_means, project
    from .smoothing import Path, PathState, Smoothed, path, smooth

_MODULES = {
    ".apps.choose_level": ("Choice", "choose_level"),
    ".apps.transform": ("InverseScaleSmoothing",),
    ".gradient.frozen": ("smooth_bpda",),
    ".method.settings": ("Scheme", "hessian_norm"),
    ".preprocessor": ("ViRoLBI",),
    ".projection": ("component_means", "project"),
    ".smoothing": ("Path", "PathState", "Smoothed", "path", "smooth"),
}
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
    """Import a name when it is asked for: PyTorch takes seconds to import, and the commands' help needs none of it."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module, __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
