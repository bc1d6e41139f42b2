"""Pictures and Parquet files of tests of data sets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from datasets._files import CIFAR10
from harness.contracts.dataset import Dataset
from harness.types import Split

Open = Callable[[str], Dataset]


def random_images(count: int, height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, height, width), np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(stream, kind)
    return stream.getvalue()


def write_parquet(
    path: Path,
    images: Sequence[np.ndarray | bytes | None],
    labels: Sequence[int | None],
    *,
    names: Sequence[str] | None = None,
    columns: tuple[str, str] = ("image", "label"),
) -> None:
    data = [{"bytes": encoded(x) if isinstance(x, np.ndarray) else x, "path": None} for x in images]
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({columns[0]: pa.array(data, image_type), columns[1]: pa.array(labels, pa.int64())})
    if names is not None:
        features = {columns[1]: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=3, compression="none", use_dictionary=False, write_statistics=False)


def both_splits(data: Dataset) -> list[Split]:
    return [data.train(), data.test()]


def rows_of(images: Sequence[Any], labels: Sequence[int | None]) -> Callable[[Path], None]:
    return lambda folder: write_parquet(folder / "test-00000-of-00001.parquet", images, labels, names=CIFAR10.classes)
