"""Data sets as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.parquet_files import random_images, write_parquet

from datasets._files import CIFAR10


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten training images in two files of several row groups, five test images; CIFAR-10's classes."""
    images = random_images(15)
    place = tmp_path / "pictures"
    for name, rows in (("train-00000-of-00002", slice(0, 6)), ("train-00001-of-00002", slice(6, 10))):
        write_parquet(place / f"{name}.parquet", list(images[rows]), list(range(10))[rows], names=CIFAR10.classes)
    write_parquet(place / "test-00000-of-00001.parquet", list(images[10:]), [9, 8, 7, 6, 5], names=CIFAR10.classes)
    return place
