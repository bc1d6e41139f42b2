"""`parquet:DIR`, a folder of Parquet files in Hugging Face's image layout."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from harness.cache import ArrayCache, digest_of
from harness.contracts.dataset import Dataset, SplitName
from harness.errors import UserError
from harness.registry import datasets
from harness.types import SMALL_IMAGE, Split

from ._decode import DECODER, Picture, decode_all, read_size, resize_and_crop
from ._files import cifar_family, content_digest
from ._normalization import IMAGENET_MEAN, IMAGENET_STD
from ._official import CIFAR_FOLDERS, CifarC

LABEL_COLUMNS = ("label", "fine_label", "labels")
_PATTERNS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train-*.parquet",),
    "test": ("test-*.parquet", "validation-*.parquet"),
}
_ENCODED = (pa.binary(), pa.large_binary())
"""Types of a column of encoded pictures."""
_SAMPLE = 512
"""Training images from which the normalisation of small images other than CIFAR's is computed."""


@datasets.register("parquet")
class Parquet(Dataset):
    """Images in DIR/train-*.parquet and DIR/test-*.parquet, as Hugging Face stores them: parquet:DIR."""

    def __init__(
        self, *, folder: str, name: str | None = None, size: int | None = None, data_root: Path, cache: ArrayCache
    ) -> None:
        """Read the files' schemas; images are decoded when a split is loaded, and kept in `cache`.

        name: the data set's name in tables, by default the folder's
        size: brings images to size×size by resizing the shorter side and cropping the centre; needed where they differ
        in size
        Raises: UserError when the folder is missing or not in this layout.
        """
        if size is not None and size < 1:
            raise UserError(f"parquet: size must be 1 or more, got {size}.")
        self.folder = folder
        self.size = size
        self.data_root = data_root
        self.cache = cache
        self.name = name or Path(folder).resolve().name
        self._shards: dict[SplitName, Shards] = {split: _find(Path(folder), split) for split in _PATTERNS}
        self.classes = self._shards["train"].class_names()
        self._describe()

    def load(self, split: SplitName) -> Split:
        """The rows in the order of the files. Raises: UserError naming the file and row that cannot be used."""
        shards = self._shards[split]
        labels = shards.labels(len(self.classes))
        content = content_digest(shards.files, Path(self.folder), self.cache)
        key = {"files": content, "size": self.size, "decoder": DECODER}
        images = self.cache.array(
            "parquet",
            key,
            shape=(len(shards), 3, *self._side),
            dtype=np.uint8,
            fill=lambda rows: self._decode(shards.pictures(range(rows.start, rows.stop))),
        )
        return Split(images=images, labels=labels, indices=np.arange(len(shards)), digest=digest_of(key))

    def official(self, corruption: str, severity: int) -> str | None:
        """A fingerprint of CIFAR-10-C's or CIFAR-100-C's images, if these are CIFAR's in their official order."""
        cifar_c = self._cifar_c
        return cifar_c.fingerprint(corruption, severity) if cifar_c is not None and cifar_c.fits() else None

    def corrupted(self, corruption: str, severity: int, indices: np.ndarray) -> np.ndarray:
        """These test images as CIFAR-10-C or CIFAR-100-C under the data root has them, [B,3,32,32] uint8."""
        cifar_c = self._cifar_c
        if cifar_c is None:
            return super().corrupted(corruption, severity, indices)
        return cifar_c.images(corruption, severity, indices)

    @property
    def _cifar_c(self) -> CifarC | None:
        if self.family not in CIFAR_FOLDERS:
            return None
        return CifarC(self.data_root / CIFAR_FOLDERS[self.family], self.test().labels)

    @cached_property
    def _side(self) -> tuple[int, int]:
        if self.size is not None:
            return self.size, self.size
        return read_size(next(self._shards["train"].pictures(range(1))))

    def _describe(self) -> None:
        cifar = cifar_family(self.classes, self._side)
        if cifar is not None:
            self.family, self.mean, self.std = cifar.name, cifar.mean, cifar.std
        elif max(self._side) > SMALL_IMAGE:
            self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        else:
            self.mean, self.std = self._measured_normalization()

    def _measured_normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        shards = self._shards["train"]
        rows = range(0, len(shards), max(1, len(shards) // _SAMPLE))
        images = self._decode(shards.pictures(rows)) / 255
        spread = np.maximum(images.std((0, 2, 3)), 1 / 255)  # a constant channel would lead to a division by 0
        return tuple(images.mean((0, 2, 3)).tolist()), tuple(spread.tolist())

    def _decode(self, pictures: Iterator[Picture]) -> np.ndarray:
        return decode_all(pictures, self._side, resize_and_crop(self.size, self.size) if self.size else None)


class RowGroup(NamedTuple):
    """A row group of a Parquet file."""

    file: int
    """The position of its file among the split's."""
    number: int
    """Its own position in the file."""
    in_file: int
    """Its first row, counted in the file."""
    first: int
    """Its first row, counted over all files."""
    rows: int


class Shards:
    """The rows of one split over all its files; one row group is in memory at a time."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self._readers = [_open(file) for file in files]
        self.image_column, self.label_column = _columns(self._readers[0].schema_arrow, files[0])
        for reader, file in zip(self._readers, files, strict=True):
            if _columns(reader.schema_arrow, file) != (self.image_column, self.label_column):
                raise UserError(f"{file} has other columns than {files[0]}.")
        self._groups = list(self._list_groups())
        self._last_group: tuple[RowGroup, list[Any]] | None = None
        if not len(self):
            raise UserError(f"{files[0]} holds no rows; expected images and labels.")

    def __len__(self) -> int:
        return sum(reader.metadata.num_rows for reader in self._readers)

    def class_names(self) -> tuple[str, ...]:
        """The names in the schema's metadata, else the numbers from 0 to the largest label."""
        names = _names_in(self._readers[0].schema_arrow.metadata, self.label_column)
        return names or tuple(str(label) for label in range(int(self.labels(None).max()) + 1))

    def labels(self, classes: int | None) -> np.ndarray:
        """Labels [N] int64. Raises: UserError naming the first row whose label is missing or no class."""
        columns = [self._labels_of(reader, file) for reader, file in zip(self._readers, self.files, strict=True)]
        for labels, file in zip(columns, self.files, strict=True):
            wrong = np.flatnonzero((labels < 0) | (labels >= classes if classes is not None else False))
            if wrong.size:
                expected = f"0–{classes - 1}" if classes is not None else "0 or more"
                raise UserError(f"{file}, row {wrong[0]}: expected a label of {expected}, got {labels[wrong[0]]}.")
        return np.concatenate(columns)

    def pictures(self, rows: range) -> Iterator[Picture]:
        """The encoded pictures of `rows`, in ascending order."""
        for group in self._groups:
            if group.first > rows[-1] or group.first + group.rows <= rows[0]:
                continue
            within = [row for row in rows if group.first <= row < group.first + group.rows]
            encoded = self._encoded(group)
            for row in within:
                yield self._picture(group, row - group.first, encoded[row - group.first])

    def _picture(self, group: RowGroup, row: int, data: bytes | None) -> Picture:
        place = f"{self.files[group.file]}, row {group.in_file + row}"
        if data is None:
            raise UserError(f"{place}: expected an encoded picture in {self.image_column}.bytes, got none.")
        return Picture(data, place)

    def _encoded(self, group: RowGroup) -> list[Any]:
        if self._last_group is None or self._last_group[0] != group:
            with _reading(self.files[group.file]):
                table = self._readers[group.file].read_row_group(group.number, columns=[self.image_column])
                column = table.column(0).combine_chunks()
                self._last_group = group, column.field("bytes").to_pylist()
        return self._last_group[1]

    def _labels_of(self, reader: parquet.ParquetFile, file: Path) -> np.ndarray:
        with _reading(file):
            column = reader.read(columns=[self.label_column]).column(0)
        if column.null_count:
            raise UserError(f"{file}: {column.null_count} rows have no {self.label_column}; expected a label in each.")
        return column.to_numpy().astype(np.int64)

    def _list_groups(self) -> Iterator[RowGroup]:
        first = 0
        for file, reader in enumerate(self._readers):
            in_file = 0
            for number in range(reader.num_row_groups):
                rows = reader.metadata.row_group(number).num_rows
                yield RowGroup(file, number, in_file, first, rows)
                in_file, first = in_file + rows, first + rows


def _find(folder: Path, split: SplitName) -> Shards:
    if not folder.is_dir():
        raise UserError(f"parquet expects a folder of Parquet files; {str(folder)!r} is no folder.")
    for pattern in _PATTERNS[split]:
        files = sorted(folder.glob(pattern))
        if files:
            return Shards(files)
    raise UserError(f"{folder} has no {split} split: expected files {' or '.join(_PATTERNS[split])}.")


def _open(file: Path) -> parquet.ParquetFile:
    with _reading(file):
        return parquet.ParquetFile(file)


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file} is truncated or no Parquet file ({reason}). Fetch it again.") from error


def _columns(schema: pa.Schema, file: Path) -> tuple[str, str]:
    """The names of the image column and the label column."""
    images = [
        column.name
        for column in schema
        if pa.types.is_struct(column.type)
        and any(part.name == "bytes" and part.type in _ENCODED for part in column.type)
    ]
    labels = [name for name in LABEL_COLUMNS if name in schema.names and pa.types.is_integer(schema.field(name).type)]
    if len(images) != 1 or not labels:
        raise UserError(
            f"{file}: expected one image column (a struct with the field bytes) and an integer column "
            f"{' or '.join(LABEL_COLUMNS)}, got {', '.join(f'{field.name} ({field.type})' for field in schema)}."
        )
    return images[0], labels[0]


def _names_in(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...]:
    """Class names from Hugging Face's metadata; empty where there are none."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(str(name) for name in names)
