"""What all tests share: a cache of their own, one thread each, and the real images where a developer has them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from datasets.base import Dataset
from harness.cache import ArrayCache
from harness.registry import datasets as registry

os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start; tests run beside each other instead
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the commands they start, leave the user's cache alone."""
    before = os.environ.get("VIROLBI_CACHE")
    os.environ["VIROLBI_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["VIROLBI_CACHE"]
    else:
        os.environ["VIROLBI_CACHE"] = before


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Two processes with two threads each would spend their time waiting for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images for development, which are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the real images in ../shared/data are not here")
    return SHARED


@pytest.fixture(scope="session")
def photographs(shared_data: Path) -> torch.Tensor:
    """The first 20 test images of CIFAR-10, [20,3,32,32] uint8."""
    rows = parquet.read_table(shared_data / "cifar10-jpeg" / "test-00000-of-00001.parquet", columns=["img"]).slice(
        0, 20
    )
    pictures = [Image.open(io.BytesIO(row["bytes"])) for row in rows.column("img").to_pylist()]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], Dataset]:
    """Opens a data set by its text, with the data root `tmp_path / "root"` and a cache of its own."""
    context = {"data_root": tmp_path / "root", "cache": ArrayCache(tmp_path / "cache")}
    return lambda text: registry.create(text, **context)
