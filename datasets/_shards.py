"""The rows of one split of a Parquet data set, over all its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from harness.errors import UserError
from harness.files import from_json, reading
from harness.files.pictures import Picture
from harness.progress import say

LABEL_COLUMNS = ("label", "fine_label", "labels")
MOST_CLASSES = 100_000
"""More classes than this, counted by the largest label where they have no names, are taken for a mistake."""
_ENCODED = (pa.binary(), pa.large_binary())
"""Types of a column of encoded pictures."""


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
        self._names = [
            _names_in(reader.schema_arrow.metadata, self.label_column, file)
            for reader, file in zip(self._readers, files, strict=True)
        ]
        self._classes: tuple[str, ...] = ()
        self._groups = list(self._list_groups())
        self._last_group: tuple[RowGroup, list[Any]] | None = None
        if not len(self):
            raise UserError(f"{files[0]} holds no rows; expected images and labels.")

    def __len__(self) -> int:
        return sum(reader.metadata.num_rows for reader in self._readers)

    def classes(self) -> tuple[str, ...]:
        """The names in the first file that has any, else the numbers from 0 to the largest label.

        Raises: UserError for more classes without names than there can be.
        """
        named = next(filter(None, self._names), None)
        if named is not None:
            return named
        largest = max(int(self._read_labels(number).max(initial=0)) for number in range(len(self.files)))
        if largest >= MOST_CLASSES:
            raise UserError(f"{self.files[0]}: a label of {largest} in classes without names is taken for a mistake.")
        return tuple(map(str, range(largest + 1)))

    def match_classes(self, classes: tuple[str, ...], first: Shards) -> None:
        """Let labels mean these classes, each file's by its own names.

        first: the split that the classes are from
        Raises: UserError for a file with another label column, or with names that are none of the classes.
        """
        if self.label_column != first.label_column:
            raise UserError(
                f"{self.files[0]} has its labels in {self.label_column}, {first.files[0]} in {first.label_column}."
            )
        self._classes = classes
        for file, names in zip(self.files, self._names, strict=True):
            if names is None and any(first._names):
                say(f"{file} has no class names; its labels are taken to mean those of {first.files[0].name}.")
            elif names is not None and names != classes:
                _check_names(names, classes, file, first.files[0])

    def is_unlabelled(self) -> bool:
        """Whether all labels are withheld: −1."""
        return all((self._read_labels(number) == -1).all() for number in range(len(self.files)))

    def labels(self) -> np.ndarray:
        """Labels [N] int64, by the classes of `match_classes`.

        Raises: UserError naming the first row whose label is missing or no class.
        """
        return np.concatenate([self._matched_labels(number) for number in range(len(self.files))])

    def _matched_labels(self, number: int) -> np.ndarray:
        """The labels of one file as positions among the classes."""
        labels, names = self._read_labels(number), self._names[number] or self._classes
        wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
        if wrong.size:
            row = wrong[0]
            advice = " Labels of −1 are withheld; put a split that has its labels there." if labels[row] == -1 else ""
            raise UserError(
                f"{self.files[number]}, row {row}: expected a label of 0–{len(names) - 1}, got {labels[row]}.{advice}"
            )
        if names == self._classes:
            return labels
        return np.array([self._classes.index(name) for name in names], np.int64)[labels]

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

    def _read_labels(self, number: int) -> np.ndarray:
        """The labels of one file as they stand in it, [n] int64."""
        file = self.files[number]
        with _reading(file):
            column = self._readers[number].read(columns=[self.label_column]).column(0)
            labels = (
                np.minimum(column.to_numpy(), np.iinfo(np.int64).max).astype(np.int64)
                if not column.null_count
                else None
            )
        if labels is None:
            raise UserError(f"{file}: {column.null_count} rows have no {self.label_column}; expected a label in each.")
        return labels

    def _list_groups(self) -> Iterator[RowGroup]:
        first = 0
        for file, reader in enumerate(self._readers):
            in_file = 0
            for number in range(reader.num_row_groups):
                rows = reader.metadata.row_group(number).num_rows
                yield RowGroup(file, number, in_file, first, rows)
                in_file, first = in_file + rows, first + rows


def _open(file: Path) -> parquet.ParquetFile:
    with _reading(file):
        return parquet.ParquetFile(file)


def _reading(file: Path) -> AbstractContextManager[None]:
    return reading(file, "a Parquet file", " It may be truncated; fetch it again.")


def _columns(schema: pa.Schema, file: Path) -> tuple[str, str]:
    """The names of the image column and the label column."""
    images = [
        column.name
        for column in schema
        if pa.types.is_struct(column.type)
        and any(part.name == "bytes" and part.type in _ENCODED for part in column.type)
    ]
    kinds = {column.name: column.type for column in schema if schema.names.count(column.name) == 1}
    labels = [name for name in LABEL_COLUMNS if name in kinds and pa.types.is_integer(kinds[name])]
    if len(images) != 1 or not labels:
        raise UserError(
            f"{file}: expected one image column (a struct with the field bytes) and one integer column "
            f"{' or '.join(LABEL_COLUMNS)}, got {', '.join(f'{field.name} ({field.type})' for field in schema)}."
        )
    return images[0], labels[0]


def _names_in(metadata: dict[bytes, bytes] | None, label: str, file: Path) -> tuple[str, ...] | None:
    """Class names from Hugging Face's metadata; None where there are none.

    Raises: UserError for names that are no list of texts.
    """
    try:
        names = from_json((metadata or {})[b"huggingface"].decode())["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file}: expected class names as a list of texts in its metadata, got {str(names)[:40]}.")
    return tuple(names)


def _check_names(names: tuple[str, ...], classes: tuple[str, ...], file: Path, first: Path) -> None:
    """Raises: UserError for names that cannot be matched with the classes one by one."""
    strange = [name for name in names if name not in classes]
    if strange:
        raise UserError(f"{file} has the class {strange[0]!r}, which {first} has not. Labels are matched by name.")
    twice = [name for name in names if names.count(name) > 1 or classes.count(name) > 1]
    if twice:
        raise UserError(f"{file} names the class {twice[0]!r} twice, in another order than {first}. Rename one.")
