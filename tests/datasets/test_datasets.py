"""Data sets that come as files: CIFAR, Parquet, image folders, and the official corrupted test sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from support.parquet_files import Open, both_splits, encoded, random_images, rows_of, write_parquet

from datasets import _decode, _files
from datasets import parquet as parquet_module
from datasets._files import CIFAR10, CIFAR100
from datasets._normalization import CIFAR10_MEAN, CIFAR100_STD, IMAGENET_MEAN
from defenses.blur import GaussianBlur
from harness.config import usual_level
from harness.corruptions import constants_set
from harness.errors import UserError

# Parquet


def test_parquet_images_are_the_encoded_ones_in_the_order_of_the_files(opened: Open, folder: Path) -> None:
    data = opened(f"parquet:{folder}")
    assert np.array_equal(data.train().images, random_images(15)[:10])
    assert np.array_equal(data.test().images, random_images(15)[10:])
    assert data.train().labels.tolist() == list(range(10))
    assert data.test().labels.tolist() == [9, 8, 7, 6, 5]
    assert data.test().indices.tolist() == [0, 1, 2, 3, 4]
    assert (data.train().images.dtype, data.train().labels.dtype) == (np.uint8, np.int64)


def test_more_images_than_are_decoded_at_a_time_keep_their_places(opened: Open, tmp_path: Path) -> None:
    images = random_images(1400, 2, 2)
    write_parquet(tmp_path / "p/train-0.parquet", list(images[:500]), [0] * 500)
    write_parquet(tmp_path / "p/train-1.parquet", list(images[500:]), [0] * 900)
    write_parquet(tmp_path / "p/test-0.parquet", list(images[:1]), [0])
    assert np.array_equal(opened(f"parquet:{tmp_path / 'p'}").train().images, images)


def test_cifar_in_parquet_is_recognised_by_its_classes(opened: Open, folder: Path) -> None:
    data = opened(f"parquet:{folder}")
    assert (data.name, data.family, data.mean) == ("pictures", "cifar10", CIFAR10_MEAN)
    assert data.classes == CIFAR10.classes
    assert opened(f"parquet:{folder},name=mine").name == "mine"
    assert opened(f"parquet:{folder},size=16").family is None


def test_cifar100_in_hugging_faces_spelling_is_recognised(opened: Open, tmp_path: Path) -> None:
    names = ["cra" if name == "crab" else name for name in CIFAR100.classes]
    for split in ("train", "test"):
        path = tmp_path / "p" / f"{split}-0.parquet"
        write_parquet(path, list(random_images(2)), [26, 99], names=names, columns=("img", "fine_label"))
    data = opened(f"parquet:{tmp_path / 'p'}")
    assert (data.family, data.std, len(data.classes)) == ("cifar100", CIFAR100_STD, 100)


def test_unknown_small_images_are_normalised_by_their_own_statistics(opened: Open, tmp_path: Path) -> None:
    images = random_images(6, 8, 10) // 2
    write_parquet(tmp_path / "p/train-0.parquet", list(images), [0, 1, 2, 0, 1, 2])
    write_parquet(tmp_path / "p/validation-0.parquet", list(images[:2]), [0, 2])
    data = opened(f"parquet:{tmp_path / 'p'}")
    assert data.classes == ("0", "1", "2")
    assert data.mean == pytest.approx(images.mean((0, 2, 3)) / 255)
    assert data.std == pytest.approx(images.std((0, 2, 3)) / 255)
    assert data.test().images.shape == (2, 3, 8, 10)


def test_large_images_of_different_sizes_are_resized_and_cropped(opened: Open, tmp_path: Path) -> None:
    images = [np.full((3, 90, 70), 50, np.uint8), np.full((3, 64, 100), 200, np.uint8)]
    for split in ("train", "test"):
        write_parquet(tmp_path / "p" / f"{split}-0.parquet", images, [0, 1])
    data = opened(f"parquet:{tmp_path / 'p'},size=72")
    assert data.mean == IMAGENET_MEAN
    assert data.test().images.shape == (2, 3, 72, 72)
    assert (data.test().images == np.array([50, 200]).reshape(2, 1, 1, 1)).all()
    with pytest.raises(UserError, match=r"differ in size: .*row 1 has 64×100 .*size=N"):
        opened(f"parquet:{tmp_path / 'p'}").test()


@pytest.mark.parametrize(("height", "width", "small"), [(64, 64, True), (64, 65, False), (65, 65, False)])
def test_small_ends_where_it_does_everywhere(
    opened: Open, tmp_path: Path, height: int, width: int, small: bool
) -> None:
    for split in ("train", "test"):
        write_parquet(tmp_path / "p" / f"{split}-0.parquet", list(random_images(2, height, width)), [0, 1])
    assert (opened(f"parquet:{tmp_path / 'p'}").mean != IMAGENET_MEAN) == small
    assert (constants_set(height, width) == "cifar") == small
    assert GaussianBlur()._width(torch.empty(1, 3, height, width)) == (3 if small else 7)
    assert (usual_level(max(height, width)) == 0.6) == small


def test_opening_decodes_nothing_and_a_second_opening_decodes_nothing_again(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Sequence[Any]] = []

    def counted(*given: Any) -> np.ndarray:
        decoded.append(given)
        return _decode.decode_all(*given)

    monkeypatch.setattr(parquet_module, "decode_all", counted)
    data = opened(f"parquet:{folder}")
    assert not decoded
    data.test()
    data.test()
    opened(f"parquet:{folder}").test()
    assert len(decoded) == 1


@pytest.mark.parametrize("settled_after", [0, 2])
def test_the_cache_is_keyed_by_content(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, settled_after: float
) -> None:
    """Other pictures in a file of the same name, size and modification time are not taken for the old ones."""
    monkeypatch.setattr(_files, "_SETTLED_SECONDS", settled_after)
    pictures = [encoded(image, "BMP") for image in random_images(5)]  # all of one length
    rows_of(pictures, range(5))(folder)
    before = opened(f"parquet:{folder}").test()
    file = folder / "test-00000-of-00001.parquet"
    stat = file.stat()
    rows_of(pictures[::-1], range(5))(folder)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_ino) == (stat.st_size, stat.st_ino)
    after = opened(f"parquet:{folder}").test()
    assert np.array_equal(after.images, before.images[::-1])
    assert after.digest != before.digest


def test_files_that_have_not_changed_are_not_read_again(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_files, "_SETTLED_SECONDS", 0)
    digest = opened(f"parquet:{folder}").test().digest
    monkeypatch.setattr(_files, "file_digest", lambda file: pytest.fail(f"{file} is read again"))
    assert opened(f"parquet:{folder}").test().digest == digest


def test_the_digest_is_of_the_content_not_of_the_place(opened: Open, folder: Path, tmp_path: Path) -> None:
    digest = opened(f"parquet:{folder}").test().digest
    folder.rename(tmp_path / "moved")
    assert opened(f"parquet:{tmp_path / 'moved'}").test().digest == digest
    assert opened(f"parquet:{tmp_path / 'moved'}").train().digest != digest
    assert opened(f"parquet:{tmp_path / 'moved'},size=16").test().digest != digest


def _remove(pattern: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for file in folder.glob(pattern):
            file.unlink()

    return spoil


def _truncate(folder: Path) -> None:
    file = folder / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])


def _spoil_pages(folder: Path) -> None:
    file = folder / "test-00000-of-00001.parquet"
    content = bytearray(file.read_bytes())
    content[4:2000] = bytes(1996)
    file.write_bytes(content)


def _test_table(**columns: Any) -> Callable[[Path], None]:
    return lambda folder: parquet.write_table(pa.table(columns), folder / "test-00000-of-00001.parquet")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_remove("*"), r"pictures has no test split: expected files such as train-\*\.parquet"),
        (
            _remove("train*"),
            r"pictures has no train split: .* it is needed to train\. To score only, give --checkpoint",
        ),
        (_remove("test*"), r"no test split: expected files such as .* test-\*\.parquet or validation-\*\.parquet"),
        (_truncate, r"expected a Parquet file, .*test-00000-of-00001\.parquet.* It may be truncated"),
        (_spoil_pages, r"expected a Parquet file, .*test-00000-of-00001\.parquet.* It may be truncated"),
        (
            lambda folder: (folder / "test-00000-of-00001.parquet").write_text("a,b\n1,2\n") and None,
            "expected a Parquet file",
        ),
        (rows_of([*random_images(3)], [0, 10, 1]), r"row 1: expected a label of 0–9, got 10"),
        (rows_of([*random_images(2)], [0, -1]), r"row 1: expected a label of 0–9, got -1"),
        (rows_of([*random_images(2)], [0, None]), "1 rows have no label"),
        (rows_of([*random_images(4), b"no picture"], range(5)), r"row 4 is not a picture in a format"),
        (rows_of([encoded(random_images(1)[0], "JPEG")[:-200]], [0]), r"row 0 cannot be decoded as a picture"),
        (rows_of([random_images(1)[0], None], [0, 1]), r"row 1: expected an encoded picture in image\.bytes"),
        (rows_of([*random_images(2), *random_images(1, 32, 31)], [0, 1, 2]), r"row 2 has 32×31 pixels"),
        (rows_of([], []), "holds no rows"),
        (_test_table(label=[1, 2]), r"expected one image column .*, got label \(int64\)"),
        (_test_table(image=[{"bytes": b"", "path": ""}], label=["cat"]), r"one integer column .* label \(string\)"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_unusable_parquet_is_one_clear_line(
    opened: Open, folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        both_splits(opened(f"parquet:{folder}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("suffix", "message"), [("x", "is no folder"), (",size=0", "size must be 1 or more, got 0")])
def test_a_missing_folder_and_a_size_of_zero_are_refused(opened: Open, folder: Path, suffix: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(f"parquet:{folder}{suffix}")


def test_the_shared_cifar_jpegs_are_cifar(opened: Open, shared_data: Path) -> None:
    data = opened(f"parquet:{shared_data / 'cifar10-jpeg'}")
    assert (data.name, data.family) == ("cifar10-jpeg", "cifar10")
    assert data.test().images.shape == (10000, 3, 32, 32)
    assert np.bincount(data.test().labels).tolist() == [1000] * 10
    assert (data.test().images / 255).mean((0, 2, 3)) == pytest.approx(CIFAR10_MEAN, abs=0.01)
