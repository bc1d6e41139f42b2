"""CIFAR by torchvision, and its official corrupted test images."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.parquet_files import Open, random_images, rows_of
from torchvision import datasets as vision

from harness.errors import UserError

# CIFAR by torchvision


def _write_batch(path: Path, images: np.ndarray, labels: Sequence[int], key: str) -> list[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"data": images.reshape(len(images), -1), key: list(labels)}))
    return [path.name, hashlib.md5(path.read_bytes()).hexdigest()]


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images as CIFAR-10 and as CIFAR-100 in their published layouts, with checksums to match."""
    images, root = random_images(12), tmp_path / "root"
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
    assert np.array_equal(data.train().images, random_images(12)[:8])
    assert np.array_equal(data.test().images, random_images(12)[8:])
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
    images = random_images(20, seed=7).transpose(0, 2, 3, 1)
    (cifar / "CIFAR-10-C").mkdir()
    np.save(cifar / "CIFAR-10-C" / "fog.npy", images)
    np.save(cifar / "CIFAR-10-C" / "labels.npy", np.tile([3, 2, 1, 0], 5).astype(np.uint8))
    return images


def test_official_corrupted_images_are_the_severitys_rows(opened: Open, cifar_c: np.ndarray) -> None:
    data = opened("cifar10")
    for severity in range(1, 6):
        assert data.official("fog", severity) is not None
        corrupted = data.corrupted("fog", severity, np.array([3, 0]))
        assert np.array_equal(corrupted, random_images(20, seed=7)[4 * (severity - 1) :][[3, 0]])
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
    rows_of([*random_images(4)], [3, 2, 1, 0])(folder)
    data = opened(f"parquet:{folder}")
    assert data.official("fog", 2) == opened("cifar10").official("fog", 2)
    assert np.array_equal(data.corrupted("fog", 2, np.arange(4)), random_images(20, seed=7)[4:8])
    rows_of([*random_images(4)], [0, 1, 2, 3])(folder)
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
        ("fog.npy", b"", "expected a NumPy file"),
        ("fog.npy", b"PK\x03\x04", "expected a NumPy file"),
        ("fog.npy", None, "expected a NumPy file"),
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
