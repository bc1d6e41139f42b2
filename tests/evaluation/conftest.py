"""A small run under attack."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cache import ArrayCache
from harness.config import RunConfig


@pytest.fixture
def small(tmp_path: Path) -> RunConfig:
    return RunConfig(
        defenses=("vanilla",),
        suites=("adversarial",),
        attacks=("fgsm",),
        epsilons=(8 / 255,),
        epochs=1,
        train_limit=64,
        limit=12,
        device="cpu",
        out=tmp_path / "out",
    )


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "cache")
