"""Which implementation runs where."""

from __future__ import annotations

import importlib

import torch

from harness.errors import UserError, unknown_name

from .trace import Backend

BACKENDS = ("cpu", "reference")


def backend_for(device: torch.device, name: str | None = None) -> Backend:
    """The backend called `name`; for None, `cpu` (Numba) on the CPU and `reference` (PyTorch) elsewhere.

    Raises: UserError for an unknown name, or `cpu` for images that are not on the CPU.
    """
    name = name or ("cpu" if device.type == "cpu" else "reference")
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    if name == "cpu" and device.type != "cpu":
        raise UserError(f"the backend 'cpu' needs images on the CPU, got images on {device}. Use 'reference' there.")
    backend: Backend = importlib.import_module(f".{name}", __package__)
    return backend
