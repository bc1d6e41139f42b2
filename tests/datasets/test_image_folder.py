"""Image folders, ImageNet-100 and ImageNet-C."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.parquet_files import both_splits

from datasets import _files, _official
from datasets._decode import decode_all
from datasets._files import DATA, read_names
from datasets._normalization import IMAGENET_STD
from harness.contracts.dataset import Dataset
from harness.errors import UserError
from harness.files.pictures import Picture
from harness.registry import suites
from harness.suites.base import SuiteContext

Open = Callable[[str], Dataset]


def _picture(path: Path, height: int = 12, width: int = 16, seed: int = 0) -> np.ndarray:
    """Writes random pixels losslessly, whatever the file's name says; returns them [H,W,3]."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    path.write_bytes(stream.getvalue())
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Classes cat, dog and emu; two training pictures and one for validation each."""
    place = tmp_path / "animals"
    for number, name in enumerate(("cat", "dog", "emu")):
        _picture(place / "train" / name / "b.jpg", seed=10 * number + 1)
        _picture(place / "train" / name / "a.PNG", seed=10 * number)
        _picture(place / "val" / name / "v.JPEG", seed=10 * number + 2)
        (place / "train" / name / "notes.txt").write_text("not a picture")
        (place / "train" / name / "._a.PNG").write_bytes(b"left by a Mac")
    return place


SMALL = "size=8,resize=12"


def test_pictures_come_by_class_then_by_file_name(opened: Open, folder: Path) -> None:
    data = opened(f"imagefolder:{folder},{SMALL}")
    assert (data.name, data.classes, data.family, data.std) == ("animals", ("cat", "dog", "emu"), None, IMAGENET_STD)
    assert data.train().labels.tolist() == [0, 0, 1, 1, 2, 2]
    expected = [np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8) for seed in (0, 1, 10, 11, 20, 21)]
    assert np.array_equal(data.train().images, np.stack(expected)[:, 2:10, 4:12].transpose(0, 3, 1, 2))
    assert data.test().images.shape == (3, 3, 8, 8)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (33, 33), (7, 90)])
def test_the_view_is_torchvisions_evaluation_transform(opened: Open, tmp_path: Path, height: int, width: int) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    for split in ("train", "test"):
        _picture(tmp_path / "p" / split / "x" / "a.png", height, width)
    picture = opened(f"imagefolder:{tmp_path / 'p'},size=20,resize=24").test().images[0].transpose(1, 2, 0)
    usual = transforms.Compose([transforms.Resize(24), transforms.CenterCrop(20)])
    expected = np.asarray(usual(Image.open(tmp_path / "p" / "test" / "x" / "a.png")))
    assert np.array_equal(picture, expected)


def test_gray_and_palette_pictures_become_rgb(opened: Open, folder: Path) -> None:
    Image.new("L", (16, 12), 90).save(folder / "val" / "cat" / "v.JPEG", "PNG")
    Image.new("P", (16, 12), 0).save(folder / "val" / "dog" / "v.JPEG", "PNG")
    images = opened(f"imagefolder:{folder},{SMALL}").test().images
    assert (images[0] == 90).all()
    assert images.shape == (3, 3, 8, 8)


def test_a_class_list_chooses_and_orders_the_classes(opened: Open, folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "classes.txt"
    listed.write_text("# two of three\nemu\n\ncat\n")
    data = opened(f"imagefolder:{folder},{SMALL},classes={listed}")
    assert data.classes == ("emu", "cat")
    everything = opened(f"imagefolder:{folder},{SMALL}")
    assert np.array_equal(data.test().images, everything.test().images[[2, 0]])


def test_the_order_of_the_classes_is_part_of_the_digest(opened: Open, folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "classes.txt"
    listed.write_text("dog\ncat\nemu\n")
    ordered, sorted_ = opened(f"imagefolder:{folder},{SMALL},classes={listed}"), opened(f"imagefolder:{folder},{SMALL}")
    assert ordered.test().labels.tolist() == sorted_.test().labels.tolist()
    assert ordered.test().digest != sorted_.test().digest


def test_the_digest_and_the_cache_follow_the_content(opened: Open, folder: Path) -> None:
    before = opened(f"imagefolder:{folder},{SMALL}").test()
    changed = _picture(folder / "val" / "emu" / "v.JPEG", seed=99)
    after = opened(f"imagefolder:{folder},{SMALL}").test()
    assert np.array_equal(after.images[2], changed[2:10, 4:12].transpose(2, 0, 1))
    assert np.array_equal(after.images[:2], before.images[:2])
    assert after.digest != before.digest
    assert opened(f"imagefolder:{folder},size=7,resize=12").test().digest != after.digest


@pytest.mark.parametrize("settled_after", [0, 2])
def test_a_picture_that_moves_to_the_next_class_is_another_digest(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, settled_after: float
) -> None:
    """The pictures are the same in the same order; only the names of the files tell."""
    monkeypatch.setattr(_files, "_SETTLED_SECONDS", settled_after)
    before = opened(f"imagefolder:{folder},{SMALL}").train()
    (folder / "train" / "cat" / "b.jpg").rename(folder / "train" / "dog" / "0.jpg")
    after = opened(f"imagefolder:{folder},{SMALL}").train()
    assert np.array_equal(after.images, before.images)
    assert after.labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert after.digest != before.digest


def _clear(place: Path) -> None:
    for file in place.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.rename(f.with_name("x")) and None, "is no folder"),
        (lambda f: (f / "val").rename(f / "other") and None, "no test split: expected folders test/CLASS/, val/CLASS/"),
        (lambda f: (f / "train").rename(f / "other") and None, "no train split"),
        (lambda f: _clear(f / "train" / "dog"), "dog holds no pictures; expected files ending in .bmp, .jpeg, .jpg"),
        (lambda f: (f / "val" / "cat").rename(f / "val" / "fox") and None, "test split of .* lacks .* cat"),
        (lambda f: (f / "val" / "fox").mkdir(), "test split of .* has .* training split lacks: fox"),
        (lambda f: (f / "val" / "emu" / "v.JPEG").write_bytes(b"text") and None, "v.JPEG is not a picture"),
    ],
)  # fmt: skip
def test_unusable_folders_are_one_clear_line(
    opened: Open, folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        both_splits(opened(f"imagefolder:{folder},{SMALL}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat\nyak\n", r"train split of .* lacks the class folders yak \(1 in all\)"),
        ("cat\ncat\n", "names cat more than once"),
        ("# nothing\n", "names no class"),
        (None, r"expected a file or one of imagenet100-kaggle, imagenet100-cmc, got"),
    ],
)
def test_unusable_class_lists_are_one_clear_line(
    opened: Open, folder: Path, tmp_path: Path, content: str | None, message: str
) -> None:
    listed = tmp_path / "classes.txt"
    if content is not None:
        listed.write_text(content)
    with pytest.raises(UserError, match=message):
        opened(f"imagefolder:{folder},classes={listed}")


def test_sizes_that_contradict_each_other_are_refused(opened: Open, folder: Path) -> None:
    with pytest.raises(UserError, match="expected 1 ≤ size ≤ resize, got size=300, resize=256"):
        opened(f"imagefolder:{folder},size=300")


# ImageNet-100


def _imagenet(place: Path, ids: tuple[str, ...], train: Callable[[int], str] = lambda number: "train") -> None:
    for number, wnid in enumerate(ids):
        _picture(place / train(number) / wnid / f"{wnid}_1.JPEG", 4, 4, seed=number)
        _picture(place / "val" / wnid / f"ILSVRC2012_val_{number:08}.JPEG", 4, 4, seed=number)


@pytest.mark.parametrize(("text", "name"), [("imagenet100", "kaggle"), ("imagenet100:list=cmc", "cmc")])
def test_imagenet100_takes_its_hundred_classes_from_a_larger_folder(
    opened: Open, tmp_path: Path, text: str, name: str
) -> None:
    ids = read_names(DATA / f"imagenet100-{name}.txt")
    _imagenet(tmp_path / "root" / "imagenet", (*ids, "n99999999"))
    data = opened(f"{text},size=4,resize=4" if ":" in text else f"{text}:size=4,resize=4")
    assert (data.classes, data.family, data.std) == (ids, "imagenet100", IMAGENET_STD)
    assert data.name == ("imagenet100" if name == "kaggle" else "imagenet100-cmc")
    assert data.test().labels.tolist() == list(range(100))


def test_kaggles_own_layout_of_imagenet100_is_understood(opened: Open, tmp_path: Path) -> None:
    ids = read_names(DATA / "imagenet100-kaggle.txt")
    _imagenet(tmp_path / "k", ids, lambda number: f"train.X{number // 25 + 1}")
    (tmp_path / "k" / "val").rename(tmp_path / "k" / "val.X")
    data = opened(f"imagenet100:folder={tmp_path / 'k'},size=4,resize=4")
    assert data.train().labels.tolist() == data.test().labels.tolist() == list(range(100))
    assert opened(f"imagefolder:{tmp_path / 'k'}").family == "imagenet100"


def test_the_two_lists_are_those_in_common_use(shared_data: Path) -> None:
    for name in ("kaggle", "cmc"):
        known = (shared_data / f"imagenet100_{name}.txt").read_text().split()
        assert list(read_names(DATA / f"imagenet100-{name}.txt")) == known


def test_the_two_lists_hold_a_hundred_ids_and_share_eight() -> None:
    kaggle, cmc = (set(read_names(DATA / f"imagenet100-{name}.txt")) for name in ("kaggle", "cmc"))
    assert (len(kaggle), len(cmc), len(kaggle & cmc)) == (100, 100, 8)


@pytest.mark.parametrize(
    ("names", "family"),
    [
        ([f"n{number:08}" for number in range(1000)], "imagenet"),
        ([f"n{number:08}" for number in range(999)], None),
        ([f"class{number:04}" for number in range(1000)], None),
        (read_names(DATA / "imagenet100-cmc.txt"), "imagenet100"),
    ],
)
def test_imagenet_is_known_by_its_thousand_classes(opened: Open, tmp_path: Path, names, family) -> None:
    for split in ("train", "val"):
        for name in names:
            (tmp_path / "all" / split / name).mkdir(parents=True)

    assert opened(f"imagefolder:{tmp_path / 'all'}").family == family


# ImageNet-C


@pytest.fixture
def birds(tmp_path: Path) -> str:
    """Two WordNet classes with their test pictures corrupted by fog of severity 3."""
    for number, wnid in enumerate(("n01514668", "n01518878")):
        _picture(tmp_path / "birds" / "train" / wnid / "t.JPEG", seed=number)
        _picture(tmp_path / "birds" / "val" / wnid / f"v{number}.JPEG", seed=number)
        _picture(tmp_path / "root" / "ImageNet-C" / "fog" / "3" / wnid / f"v{number}.JPEG", 8, 8, seed=50 + number)
    return f"imagefolder:{tmp_path / 'birds'},{SMALL}"


def test_imagenet_c_pictures_are_matched_by_class_and_file_name(opened: Open, birds: str) -> None:
    data = opened(birds)
    expected = [np.random.default_rng(50 + k).integers(0, 256, (8, 8, 3), np.uint8).transpose(2, 0, 1) for k in (1, 0)]
    assert np.array_equal(data.corrupted("fog", 3, np.array([1, 0])), np.stack(expected))
    assert data.official("fog", 3) is not None
    assert data.official("fog", 4) is None
    assert data.official("snow", 3) is None


def test_planning_an_imagenet_c_decodes_nothing_and_scoring_only_the_rows_taken(
    opened: Open, birds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counted(pictures: Iterable[Picture], *given: Any) -> np.ndarray:
        listed = list(pictures)
        decoded.extend(picture.place for picture in listed)
        return decode_all(listed, *given)

    monkeypatch.setattr(_official, "decode_all", counted)
    data = opened(birds)
    split = data.test().take(1)
    where = SuiteContext(dataset=data, split=split, seed=0, corruptions=("fog",))
    suite = suites.create("corruption:severities=3")
    (condition,) = suite.conditions(where)
    assert (condition.source, decoded) == ("official", [])
    assert suite.perturb(np.arange(1), condition, where, None).shape == (1, 3, 8, 8)
    assert [Path(place).name for place in decoded] == [f"v{split.indices[0]}.JPEG"]


def test_other_imagenet_c_files_are_another_condition(opened: Open, birds: str, tmp_path: Path) -> None:
    before = opened(birds).official("fog", 3)
    assert opened(birds).official("fog", 3) == before
    _picture(tmp_path / "root" / "ImageNet-C" / "fog" / "3" / "n01518878" / "v1.JPEG", 8, 9)
    assert opened(birds).official("fog", 3) != before


def test_an_incomplete_imagenet_c_is_one_clear_line(opened: Open, birds: str, tmp_path: Path) -> None:
    (tmp_path / "root" / "ImageNet-C" / "fog" / "3" / "n01518878" / "v1.JPEG").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of the 2 test images, .*v1\.JPEG for example"):
        opened(birds).official("fog", 3)


def test_imagenet_c_is_not_looked_for_where_classes_are_no_wordnet_ids(opened: Open, folder: Path) -> None:
    assert opened(f"imagefolder:{folder},{SMALL}").official("fog", 3) is None
