"""Where the method runs: on the CPU by Numba, on a GPU by CUDA C++, or anywhere by the PyTorch of its equations."""

from __future__ import annotations

import torch

from harness.errors import UserError, unknown_name

from ..method.trace import Backend
from . import cuda_driver

BACKENDS = ("cpu", "cuda", "reference")


def backend_for(device: torch.device, name: str | None = None) -> Backend:
    """The backend called `name`, or the fastest one for the device.

    That is `cpu` (Numba) on the CPU, `cuda` (CUDA C++) where it can be compiled for an NVIDIA GPU, and `reference`
    (PyTorch) elsewhere.

    Raises: UserError for an unknown name, or `cpu` or `cuda` for images that are on another kind of device.
    """
    usual = _usual(device)
    name = name or usual
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    if name not in ("reference", device.type):
        raise UserError(
            f"the backend {name!r} needs images on a {name} device, got images on {device}. "
            f"Leave it out to take {usual!r} there."
        )
    return _imported(name)


def _usual(device: torch.device) -> str:
    if device.type == "cuda":
        return "cuda" if cuda_driver.available() else "reference"
    return "cpu" if device.type == "cpu" else "reference"


def _imported(name: str) -> Backend:
    """The module, imported now: Numba takes a second that only the CPU backend should cost."""
    if name == "cpu":
        from . import cpu

        return cpu
    if name == "cuda":
        from . import cuda

        return cuda
    from ..method import reference

    return reference
