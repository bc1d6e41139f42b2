"""What a result was computed with: versions and hardware, recorded beside every cell."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from typing import Any

import torch

import harness
from harness.packages import ROOT

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "numba", "timm", "imagecorruptions-imaug")


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions of what computes, the device's name, threads, and the commit of a checkout."""
    return {
        "harness": harness.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        **{name: _version(name) for name in PACKAGES},
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} thread{'' if threads == 1 else 's'}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, with "+" where files were changed since; None outside a checkout."""
    if not (ROOT / ".git").exists():  # an installed package may lie inside the checkout of something else
        return None
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=5)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if commit.returncode != 0:
        return None
    return commit.stdout.strip() + ("+" if changed.returncode else "")
