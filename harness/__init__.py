"""A benchmark harness for robust image classifiers, with pluggable defenses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.models.load import load

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # PyTorch, which it needs, takes seconds to import
        from harness.models.load import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
