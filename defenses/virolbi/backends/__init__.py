"""Which implementation runs where."""

from __future__ import annotations

import importlib

import torch

from harness.errors import UserError, unknown_name

from ..method.trace import Backend
from . import cuda_driver

BACKENDS = ("cpu", "cuda", "reference")


def backend_for(device: torch.device, name: str | None = None) -> Backend:
    """The backend called `name`; for None, `cpu` (Numba) on the CPU, `cuda` (CUDA C++) where it can be compiled for an
    NVIDIA GPU, and `reference` (PyTorch) elsewhere.

    Raises: UserError for an unknown name, or `cpu` or `cuda` for images that are on another kind of device.
    """
    name = name or _best(device)
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    if name not in ("reference", device.type):
        raise UserError(
            f"the backend {name!r} needs images on a {name} device, got images on {device}. "
            f"Leave it out to take {_best(device)!r} there."
        )
    backend: Backend = importlib.import_module(f".{name}", __package__)
    return backend


def _best(device: torch.device) -> str:
    if device.type == "cuda":
        return "cuda" if cuda_driver.available() else "reference"
    return "cpu" if device.type == "cpu" else "reference"
