"""Which files make a split, and what their labels mean: nothing is dropped, doubled or renamed without a word."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torchvision
from PIL import Image
from pyarrow import parquet
from support.parquet_files import Open, random_images, write_parquet

from datasets._shards import _names_in
from harness.errors import UserError

NAMES = ["red", "green", "blue"]
FLAT = ",size=16,resize=16"


def write(path: Path, labels: list[int], names: list[str] | None = NAMES) -> None:
    write_parquet(path, list(random_images(len(labels), 8, 8)), labels, names=names)


def test_labels_are_matched_by_name_in_every_file_of_every_split(opened: Open, tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.parquet", [0, 1, 2])
    write(tmp_path / "train-00001-of-00002.parquet", [0, 1, 2], ["blue", "red", "green"])
    write(tmp_path / "test-00000-of-00001.parquet", [0, 0, 1], ["green", "blue"])

    data = opened(f"parquet:{tmp_path}")

    assert data.classes == ("red", "green", "blue")
    assert data.train().labels.tolist() == [0, 1, 2, 2, 0, 1]
    assert data.test().labels.tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["red", "green", "cyan"], "has the class 'cyan', which .* has not"),
        (["blue", "blue", "red"], "names the class 'blue' twice"),
    ],
)
def test_names_that_cannot_be_matched_are_refused(opened: Open, tmp_path: Path, names: list[str], message: str) -> None:
    write(tmp_path / "train-0.parquet", [0, 1, 2])
    write(tmp_path / "test-0.parquet", [0, 1, 2], names)

    with pytest.raises(UserError, match=message):
        opened(f"parquet:{tmp_path}")


def test_labels_whose_meaning_is_assumed_are_named(
    opened: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "train-0.parquet", [0, 1, 2])
    write(tmp_path / "test-0.parquet", [2, 1], None)

    assert opened(f"parquet:{tmp_path}").test().labels.tolist() == [2, 1]
    assert "test-0.parquet has no class names; its labels are taken to mean those of train-0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["test-00000-of-00003", "test-00002-of-00003"], r"the test split lacks 1 of 3 files: 00001-of-00003\. Fetch"),
        (["test-00000-of-00001", "test-00000-of-00002", "test-00001-of-00002"], "mixes files of 2 uploads"),
        (["test-00000-of-00001-0a1b2c", "test-00000-of-00001-3d4e5f"], "has one file twice, of two uploads"),
        (["test-0", "test-00000-of-00001"], "mixes files of 2 uploads"),
        (
            ["test-00000-of-00001", "test-00005-of-00001"],
            "which is no part of its 1 files",
        ),
        (["test-00000-OF-00002"], "lacks 1 of 2 files"),
        (["test_00001_of_00002"], "lacks 1 of 2 files"),
        (["test", "test (1)"], r"has one file twice: test \(1\)\.parquet and test\.parquet hold the same"),
    ],
)
def test_a_set_that_is_not_complete_or_not_one_upload_is_refused(
    opened: Open, tmp_path: Path, files: list[str], message: str
) -> None:
    for name in ["train-0", *files]:
        write(tmp_path / f"{name}.parquet", [0, 1, 2])

    with pytest.raises(UserError, match=message):
        opened(f"parquet:{tmp_path}")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("train-00000-of-00001", "validation-00000-of-00001"),
        ("data/train-00000-of-00001", "data/valid-00000-of-00001"),
        ("data/training_1", "data/val_1"),
        ("train/0000", "test/0000"),
        ("train-00001-of-00001", "test-1-of-1"),
        ("data/train/part", "data/dev/part"),
        ("plain_text/train-00000-of-00001", "plain_text/eval-00000-of-00001"),
    ],
)
def test_files_are_found_as_the_hub_names_them(opened: Open, tmp_path: Path, train: str, test: str) -> None:
    write(tmp_path / f"{train}.parquet", [0, 1, 2])
    write(tmp_path / f"{test}.parquet", [2, 1])

    data = opened(f"parquet:{tmp_path}")

    assert (data.train().labels.tolist(), data.test().labels.tolist()) == ([0, 1, 2], [2, 1])


def test_of_a_test_split_without_labels_the_validation_split_takes_the_place(
    opened: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "test-0.parquet", [-1, -1])
    write(tmp_path / "validation-0.parquet", [1, 2])

    assert opened(f"parquet:{tmp_path}").test().labels.tolist() == [1, 2]
    assert "the labels of the test split are withheld" in capsys.readouterr().err


def test_a_table_beside_the_data_is_not_taken_for_it(opened: Open, tmp_path: Path) -> None:
    write(tmp_path / "metadata.parquet", [0, 1, 2])
    write(tmp_path / "data" / "test-0.parquet", [2, 1])

    assert opened(f"parquet:{tmp_path}").test().labels.tolist() == [2, 1]


def test_several_data_sets_in_one_folder_are_refused(opened: Open, tmp_path: Path) -> None:
    for folder in ("full", "small"):
        write(tmp_path / folder / "test-0.parquet", [1, 2])

    with pytest.raises(UserError, match=r"holds several data sets: full, small\. Name one"):
        opened(f"parquet:{tmp_path}")


@pytest.mark.parametrize("where", ["parquet", "imagefolder"])
def test_a_test_split_alone_is_enough_to_score(opened: Open, tmp_path: Path, where: str) -> None:
    write(tmp_path / "rows" / "test-0.parquet", [1, 2])
    for number, name in enumerate(NAMES):
        picture(tmp_path / "pictures" / "val" / name / "a.png", number)
    folder = tmp_path / ("rows" if where == "parquet" else "pictures")

    data = opened(f"{where}:{folder}{FLAT if where == 'imagefolder' else ''}")

    assert len(data.test()) == (2 if where == "parquet" else 3)
    assert set(data.classes) == set(NAMES)
    with pytest.raises(UserError, match=r"has no train split: .* needed to train\. To score only, give --checkpoint"):
        data.train()


@pytest.mark.parametrize("names", [7, "red", {"0": "red"}, [1, 2], [], None])
def test_class_names_that_are_no_list_of_texts_are_refused(names: object) -> None:

    metadata = {b"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}}).encode()}
    with pytest.raises(UserError, match="expected class names as a list of texts"):
        _names_in(metadata, "label", Path("a.parquet"))


def test_metadata_without_names_is_none() -> None:
    deep = b'{"info":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for content in (b"", b"{}", b"[1]", b"\xff", deep):
        assert _names_in({b"huggingface": content}, "label", Path("a.parquet")) is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: twice_a_label(file), "expected one image column .* and one integer column"),
        (lambda file: write(file, [10**7, 0], None), "a label of 10000000 in classes without names"),
        (lambda file: pipe(file), "a folder, a pipe or a device"),
    ],
)
def test_hostile_files_are_one_line(opened: Open, tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(tmp_path / "test-0.parquet")

    with pytest.raises(UserError, match=message):
        opened(f"parquet:{tmp_path}")


def twice_a_label(file: Path) -> None:
    write(file, [0, 1])
    table = parquet.read_table(file)
    parquet.write_table(table.append_column("label", pa.array([1, 0])), file)


def pipe(file: Path) -> None:
    os.mkfifo(file)


# Image folders


def picture(file: Path, shade: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (shade, 2 * shade, 3 * shade)).save(file)


def test_an_image_folder_is_what_torchvision_takes_in_its_order(opened: Open, tmp_path: Path) -> None:
    files = [
        *("cat/b.png", "cat/a.PNG", "cat/sub/deep/z.bmp", "cat/sub/a.jpg", "cat/sub-2/q.png"),
        *("dog/1.tif", "dog/2.tiff", "dog/3.ppm", "dog/4.webp", "dog/5.jpeg", "dog/inner/0.png"),
    ]
    for number, name in enumerate(files):
        picture(tmp_path / "val" / name, number)

    split = opened(f"imagefolder:{tmp_path}{FLAT}").test()

    theirs = torchvision.datasets.ImageFolder(str(tmp_path / "val"))
    assert split.labels.tolist() == theirs.targets
    pixels = np.stack([np.asarray(image) for image, _ in theirs]).transpose(0, 3, 1, 2)
    assert np.array_equal(split.images, pixels)


@pytest.mark.parametrize("name", ["valid", "validation", "val", "test"])
def test_a_test_split_is_found_under_its_usual_names(opened: Open, tmp_path: Path, name: str) -> None:
    picture(tmp_path / name / "cat" / "a.png")

    assert len(opened(f"imagefolder:{tmp_path}{FLAT}").test()) == 1


def test_a_class_in_two_parts_of_a_split_is_one_class(opened: Open, tmp_path: Path) -> None:
    for number, name in enumerate(("train.X1/cat/a", "train.X2/cat/b", "train.X2/dog/c", "val.X/cat/d", "val.X/dog/e")):
        picture(tmp_path / f"{name}.png", number)

    data = opened(f"imagefolder:{tmp_path}{FLAT}")

    assert data.train().labels.tolist() == [0, 0, 1]
    assert data.train().images[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_what_is_left_out_is_counted_and_named(
    opened: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("test/cat/a.png", "test/dog/b.png", "val/cat/c.png", "test/loose.png", "test/__MACOSX/d.png"):
        picture(tmp_path / name)
    (tmp_path / "test/cat/notes.txt").write_text("")
    (tmp_path / "test/dog/._b.png").write_text("")
    os.mkfifo(tmp_path / "test/dog/z.png")

    assert len(opened(f"imagefolder:{tmp_path}{FLAT}").test()) == 2
    told = capsys.readouterr().err
    assert "3 files are left out, by their names no pictures" in told
    assert "1 pictures in" in told
    assert "loose.png for example, lie in no class folder" in told
    assert "val beside it is not used" in told


def test_a_folder_that_holds_itself_is_refused(opened: Open, tmp_path: Path) -> None:
    picture(tmp_path / "test/cat/a.png")
    os.symlink(tmp_path / "test/cat", tmp_path / "test/cat/again")

    with pytest.raises(UserError, match="is a link to a folder whose pictures were taken already"):
        opened(f"imagefolder:{tmp_path}{FLAT}").test()


def test_names_that_are_no_utf_8_are_classes_like_others(opened: Open, tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"plain"):
        picture(tmp_path / "test" / os.fsdecode(name) / os.fsdecode(b"\xff.png"))

    data = opened(f"imagefolder:{tmp_path}{FLAT}")

    assert data.test().labels.tolist() == [0, 1]
    assert data.classes == (os.fsdecode(b"caf\xe9"), "plain")


def test_a_list_of_classes_may_begin_with_a_byte_order_mark(opened: Open, tmp_path: Path) -> None:
    for name in NAMES:
        picture(tmp_path / "test" / name / "a.png")
    (tmp_path / "list.txt").write_bytes("red\nblue\n".encode("utf-8-sig"))

    assert opened(f"imagefolder:{tmp_path}{FLAT},classes={tmp_path / 'list.txt'}").classes == ("red", "blue")


def test_a_tilde_is_the_home_folder(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "rows" / "test-0.parquet", [1, 2])
    picture(tmp_path / "pictures" / "test" / "cat" / "a.png")

    assert len(opened("parquet:~/rows").test()) == 2
    assert len(opened(f"imagefolder:~/pictures{FLAT}").test()) == 1
