"""Data sets that come as files: CIFAR, Parquet, image folders, and the official corrupted test sets."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from torchvision import datasets as vision

from datasets import _decode, _files
from datasets import parquet as parquet_module
from datasets._files import CIFAR10, CIFAR100
from datasets._normalization import CIFAR10_MEAN, CIFAR100_STD, IMAGENET_MEAN
from defenses.blur import GaussianBlur
from harness.config import usual_level
from harness.contracts.dataset import Dataset
from harness.corruptions import constants_set
from harness.errors import UserError

Open = Callable[[str], Dataset]


def _random_images(count: int, height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, height, width), np.uint8)


def _encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(stream, kind)
    return stream.getvalue()


def _write_parquet(
    path: Path,
    images: Sequence[np.ndarray | bytes | None],
    labels: Sequence[int | None],
    *,
    names: Sequence[str] | None = None,
    columns: tuple[str, str] = ("image", "label"),
) -> None:
    data = [{"bytes": _encoded(x) if isinstance(x, np.ndarray) else x, "path": None} for x in images]
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({columns[0]: pa.array(data, image_type), columns[1]: pa.array(labels, pa.int64())})
    if names is not None:
        features = {columns[1]: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=3, compression="none", use_dictionary=False, write_statistics=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten training images in two files of several row groups, five test images; CIFAR-10's classes."""
    images = _random_images(15)
    place = tmp_path / "pictures"
    for name, rows in (("train-00000-of-00002", slice(0, 6)), ("train-00001-of-00002", slice(6, 10))):
        _write_parquet(place / f"{name}.parquet", list(images[rows]), list(range(10))[rows], names=CIFAR10.classes)
    _write_parquet(place / "test-00000-of-00001.parquet", list(images[10:]), [9, 8, 7, 6, 5], names=CIFAR10.classes)
    return place


# Parquet


def test_parquet_images_are_the_encoded_ones_in_the_order_of_the_files(opened: Open, folder: Path) -> None:
    data = opened(f"parquet:{folder}")
    assert np.array_equal(data.train().images, _random_images(15)[:10])
    assert np.array_equal(data.test().images, _random_images(15)[10:])
    assert data.train().labels.tolist() == list(range(10))
    assert data.test().labels.tolist() == [9, 8, 7, 6, 5]
    assert data.test().indices.tolist() == [0, 1, 2, 3, 4]
    assert (data.train().images.dtype, data.train().labels.dtype) == (np.uint8, np.int64)


def test_more_images_than_are_decoded_at_a_time_keep_their_places(opened: Open, tmp_path: Path) -> None:
    images = _random_images(1400, 2, 2)
    _write_parquet(tmp_path / "p/train-0.parquet", list(images[:500]), [0] * 500)
    _write_parquet(tmp_path / "p/train-1.parquet", list(images[500:]), [0] * 900)
    _write_parquet(tmp_path / "p/test-0.parquet", list(images[:1]), [0])
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
        _write_parquet(path, list(_random_images(2)), [26, 99], names=names, columns=("img", "fine_label"))
    data = opened(f"parquet:{tmp_path / 'p'}")
    assert (data.family, data.std, len(data.classes)) == ("cifar100", CIFAR100_STD, 100)


def test_unknown_small_images_are_normalised_by_their_own_statistics(opened: Open, tmp_path: Path) -> None:
    images = _random_images(6, 8, 10) // 2
    _write_parquet(tmp_path / "p/train-0.parquet", list(images), [0, 1, 2, 0, 1, 2])
    _write_parquet(tmp_path / "p/validation-0.parquet", list(images[:2]), [0, 2])
    data = opened(f"parquet:{tmp_path / 'p'}")
    assert data.classes == ("0", "1", "2")
    assert data.mean == pytest.approx(images.mean((0, 2, 3)) / 255)
    assert data.std == pytest.approx(images.std((0, 2, 3)) / 255)
    assert data.test().images.shape == (2, 3, 8, 10)


def test_large_images_of_different_sizes_are_resized_and_cropped(opened: Open, tmp_path: Path) -> None:
    images = [np.full((3, 90, 70), 50, np.uint8), np.full((3, 64, 100), 200, np.uint8)]
    for split in ("train", "test"):
        _write_parquet(tmp_path / "p" / f"{split}-0.parquet", images, [0, 1])
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
        _write_parquet(tmp_path / "p" / f"{split}-0.parquet", list(_random_images(2, height, width)), [0, 1])
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
    pictures = [_encoded(image, "BMP") for image in _random_images(5)]  # all of one length
    _test_rows(pictures, range(5))(folder)
    before = opened(f"parquet:{folder}").test()
    file = folder / "test-00000-of-00001.parquet"
    stat = file.stat()
    _test_rows(pictures[::-1], range(5))(folder)
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
    monkeypatch.setattr(_files, "_hash", lambda file: pytest.fail(f"{file} is read again"))
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


def _test_rows(images: Sequence[Any], labels: Sequence[int | None]) -> Callable[[Path], None]:
    return lambda folder: _write_parquet(folder / "test-00000-of-00001.parquet", images, labels, names=CIFAR10.classes)


def _test_table(**columns: Any) -> Callable[[Path], None]:
    return lambda folder: parquet.write_table(pa.table(columns), folder / "test-00000-of-00001.parquet")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_remove("*"), r"pictures has no train split: expected files train-\*\.parquet"),
        (_remove("test*"), r"no test split: expected files test-\*\.parquet or validation-\*\.parquet"),
        (_truncate, r"test-00000-of-00001\.parquet is truncated or no Parquet file"),
        (_spoil_pages, r"test-00000-of-00001\.parquet is truncated or no Parquet file"),
        (lambda folder: (folder / "test-00000-of-00001.parquet").write_text("a,b\n1,2\n") and None, "no Parquet file"),
        (_test_rows([*_random_images(3)], [0, 10, 1]), r"row 1: expected a label of 0–9, got 10"),
        (_test_rows([*_random_images(2)], [0, -1]), r"row 1: expected a label of 0–9, got -1"),
        (_test_rows([*_random_images(2)], [0, None]), "1 rows have no label"),
        (_test_rows([*_random_images(4), b"no picture"], range(5)), r"row 4 is not a picture in a format"),
        (_test_rows([_encoded(_random_images(1)[0], "JPEG")[:-200]], [0]), r"row 0 cannot be decoded as a picture"),
        (_test_rows([_random_images(1)[0], None], [0, 1]), r"row 1: expected an encoded picture in image\.bytes"),
        (_test_rows([*_random_images(2), *_random_images(1, 32, 31)], [0, 1, 2]), r"row 2 has 32×31 pixels"),
        (_test_rows([], []), "holds no rows"),
        (_test_table(label=[1, 2]), r"expected one image column .*, got label \(int64\)"),
        (_test_table(image=[{"bytes": b"", "path": ""}], label=["cat"]), r"an integer column .* label \(string\)"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_unusable_parquet_is_one_clear_line(
    opened: Open, folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        opened(f"parquet:{folder}").test()
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


# CIFAR through torchvision


def _write_batch(path: Path, images: np.ndarray, labels: Sequence[int], key: str) -> list[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"data": images.reshape(len(images), -1), key: list(labels)}))
    return [path.name, hashlib.md5(path.read_bytes()).hexdigest()]


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images as CIFAR-10 and as CIFAR-100 in their published layouts, with checksums to match."""
    images, root = _random_images(12), tmp_path / "root"
    ten, hundred = root / "cifar-10-batches-py", root / "cifar-100-python"
    train = [
        _write_batch(ten / "data_batch_1", images[:4], range(4), "labels"),
        _write_batch(ten / "data_batch_2", images[4:8], range(4, 8), "labels"),
    ]
    test = [_write_batch(ten / "test_batch", images[8:], [3, 2, 1, 0], "labels")]
    fine = {"train": images[:8], "test": images[8:]}
    fine_files = {k: _write_batch(hundred / k, v, range(len(v)), "fine_labels") for k, v in fine.items()}
    for cls, names, key, lists in (
        (vision.CIFAR10, ten / "batches.meta", "label_names", (train, test)),
        (vision.CIFAR100, hundred / "meta", "fine_label_names", ([fine_files["train"]], [fine_files["test"]])),
    ):
        names.write_bytes(pickle.dumps({key: ["a", "b"]}))
        meta = {"filename": names.name, "key": key, "md5": hashlib.md5(names.read_bytes()).hexdigest()}
        monkeypatch.setattr(cls, "train_list", lists[0])
        monkeypatch.setattr(cls, "test_list", lists[1])
        monkeypatch.setattr(cls, "meta", meta)
    return root


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_in_its_official_order(opened: Open, cifar: Path, name: str) -> None:
    data = opened(name)
    assert np.array_equal(data.train().images, _random_images(12)[:8])
    assert np.array_equal(data.test().images, _random_images(12)[8:])
    assert data.train().labels.tolist() == list(range(8))
    assert (data.name, data.family, len(data.classes)) == (name, name, 10 if name == "cifar10" else 100)
    assert data.train().digest != data.test().digest


def test_missing_cifar_says_how_to_get_it(opened: Open) -> None:
    with pytest.raises(UserError, match=r"cifar10 expects its files in .*Write cifar10:download=true"):
        opened("cifar10")


def test_corrupt_cifar_is_refused_by_its_checksum(opened: Open, cifar: Path) -> None:
    file = cifar / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"incomplete or corrupt \(checksums differ\)"):
        opened("cifar10").test()


def test_a_failed_download_is_one_clear_line(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision.CIFAR10, "url", "file:///nowhere/cifar.tar.gz")
    with pytest.raises(UserError, match="cifar10 could not be downloaded"):
        opened("cifar10:download=true").test()


# Official corrupted CIFAR


@pytest.fixture
def cifar_c(cifar: Path) -> np.ndarray:
    """CIFAR-10-C's layout for the four test images: [20,32,32,3], severity after severity."""
    images = _random_images(20, seed=7).transpose(0, 2, 3, 1)
    (cifar / "CIFAR-10-C").mkdir()
    np.save(cifar / "CIFAR-10-C" / "fog.npy", images)
    np.save(cifar / "CIFAR-10-C" / "labels.npy", np.tile([3, 2, 1, 0], 5).astype(np.uint8))
    return images


def test_official_corrupted_images_are_the_severitys_rows(opened: Open, cifar_c: np.ndarray) -> None:
    data = opened("cifar10")
    for severity in range(1, 6):
        assert data.official("fog", severity) is not None
        corrupted = data.corrupted("fog", severity, np.array([3, 0]))
        assert np.array_equal(corrupted, _random_images(20, seed=7)[4 * (severity - 1) :][[3, 0]])
    assert data.official("snow", 1) is None
    with pytest.raises(UserError, match="severity must be 1–5, got 6"):
        data.official("fog", 6)


def test_the_fingerprint_of_official_images_follows_their_content(
    opened: Open, cifar: Path, cifar_c: np.ndarray
) -> None:
    data = opened("cifar10")
    before = [data.official("fog", severity) for severity in range(1, 6)]
    cifar_c[9] = 255 - cifar_c[9]  # of severity 3; the file's size stays
    np.save(cifar / "CIFAR-10-C" / "fog.npy", cifar_c)
    after = [data.official("fog", severity) for severity in range(1, 6)]
    assert len(set(before)) == 5
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, True, True]


def test_official_files_are_used_for_parquet_in_the_same_order_only(
    opened: Open, cifar_c: np.ndarray, folder: Path
) -> None:
    _test_rows([*_random_images(4)], [3, 2, 1, 0])(folder)
    data = opened(f"parquet:{folder}")
    assert data.official("fog", 2) == opened("cifar10").official("fog", 2)
    assert np.array_equal(data.corrupted("fog", 2, np.arange(4)), _random_images(20, seed=7)[4:8])
    _test_rows([*_random_images(4)], [0, 1, 2, 3])(folder)
    assert opened(f"parquet:{folder}").official("fog", 2) is None


def test_who_has_no_official_images_says_so(opened: Open, folder: Path) -> None:
    for data in (opened("shapes"), opened(f"parquet:{folder},size=16")):
        assert data.official("fog", 1) is None
        with pytest.raises(UserError, match=f"{data.name} has no official images of fog, severity 1"):
            data.corrupted("fog", 1, np.arange(2))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("fog.npy", np.zeros((19, 32, 32, 3), np.uint8), r"should hold uint8 \(20, 32, 32, 3\), got uint8 \(19, 32"),
        ("fog.npy", np.zeros((20, 32, 32, 3), np.float32), "should hold uint8 .*got float32"),
        ("fog.npy", b"", "truncated or no NumPy file"),
        ("fog.npy", b"PK\x03\x04", "truncated or no NumPy file"),
        ("fog.npy", None, "truncated or no NumPy file"),
        ("labels.npy", np.zeros(20, np.uint8), "does not hold the test labels"),
        ("labels.npy", np.zeros(7, np.uint8), "does not hold the test labels"),
    ],
)
def test_unusable_official_files_are_one_clear_line(
    opened: Open, cifar: Path, cifar_c: np.ndarray, file: str, content: np.ndarray | bytes | None, message: str
) -> None:
    path = cifar / "CIFAR-10-C" / file
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(UserError, match=message):
        opened("cifar10").official("fog", 1)


def test_official_images_without_labels_are_refused(opened: Open, cifar: Path, cifar_c: np.ndarray) -> None:
    (cifar / "CIFAR-10-C" / "labels.npy").unlink()
    with pytest.raises(UserError, match=r"labels\.npy is missing"):
        opened("cifar10").official("fog", 1)
