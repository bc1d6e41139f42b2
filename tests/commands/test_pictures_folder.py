"""The smooth command on a picture or a folder: what is made, made anew, left alone and named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from defenses.virolbi import InverseScaleSmoothing, ViRoLBI
from defenses.virolbi.apps.folder_log import LOG
from defenses.virolbi.apps.pictures import smooth_pictures
from harness.__main__ import cli
from harness.errors import UserError

SIZE = (7, 5)


class Recorder:
    """A smoother that notes what it is given, and divides the light by `divisor`."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.divisor = 2
        self.outcome = "reached"
        self.seen: list[Image.Image] = []

    def smooth_picture(self, picture: Image.Image) -> tuple[Image.Image, str]:
        self.seen.append(picture)
        return picture.point(lambda value: value / self.divisor), self.outcome

    def options(self) -> dict[str, Any]:
        return InverseScaleSmoothing(**self.settings).options()


def picture(mode: str) -> Image.Image:
    """A picture of random content, gray ("L") or "RGB"."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
    return Image.fromarray(pixels if mode == "RGB" else pixels[..., 0])


def saved(folder: Path) -> Path:
    path = folder / "picture.png"
    picture("RGB").save(path)
    return path


@pytest.fixture
def smoother() -> Recorder:
    return Recorder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures at two depths, and files that are none."""
    source = tmp_path / "in"
    (source / "deep" / "er").mkdir(parents=True)
    picture("RGB").save(source / "a.png")
    picture("L").save(source / "deep" / "b.PNG")
    picture("RGB").save(source / "deep" / "er" / "c.jpg")
    (source / "notes.txt").write_text("no picture")
    (source / "folder.png").mkdir()
    return source


def smooth(smoother: Recorder, source: Path, target: Path, **settings: Any) -> int:
    smoother.settings = settings
    return smooth_pictures(source, target, smoother)


def log_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines() if line]


def files(folder: Path) -> list[str]:
    """What lies in a folder, but for the note of what was made there."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(folder)) for path in paths if path.name != LOG)


WHOLE = ["a.png", "deep/b.PNG", "deep/er/c.jpg"]


def test_one_picture_goes_into_a_file_or_a_folder(tmp_path: Path, smoother: Recorder) -> None:
    source = saved(tmp_path)
    (tmp_path / "out").mkdir()

    assert smooth(smoother, source, tmp_path / "new" / "other.png") == 0
    assert smooth(smoother, source, tmp_path / "out") == 0

    assert (tmp_path / "new" / "other.png").read_bytes() == (tmp_path / "out" / "picture.png").read_bytes()
    assert len(smoother.seen) == 2
    assert not list(tmp_path.rglob(LOG))


def test_one_picture_replaces_a_file_only_when_told_to(tmp_path: Path, smoother: Recorder) -> None:
    source, there = saved(tmp_path), tmp_path / "out" / "picture.png"
    there.parent.mkdir()
    there.write_text("made by somebody")

    for out in (tmp_path / "out", there):
        with pytest.raises(UserError, match=r"picture.png is there already.*--overwrite"):
            smooth(smoother, source, out)
    assert there.read_text() == "made by somebody"

    assert smooth_pictures(source, there, smoother, overwrite=True) == 0
    with Image.open(there) as after:
        assert after.size == SIZE


def test_every_picture_of_a_folder_is_smoothed_to_its_place(folder: Path, tmp_path: Path, smoother: Recorder) -> None:
    assert smooth(smoother, folder, tmp_path / "out") == 0

    assert files(tmp_path / "out") == WHOLE
    with Image.open(folder / "deep" / "b.PNG") as before, Image.open(tmp_path / "out" / "deep" / "b.PNG") as after:
        np.testing.assert_allclose(np.asarray(after), np.asarray(before) / 2, atol=0.5)


def test_pictures_that_are_there_already_are_left_alone(
    folder: Path, tmp_path: Path, smoother: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert smooth(smoother, folder, out) == 0
    (out / "a.png").unlink()
    times = {name: (out / name).stat().st_mtime_ns for name in WHOLE[1:]}
    capsys.readouterr()

    assert smooth(smoother, folder, out) == 0

    assert {name: (out / name).stat().st_mtime_ns for name in WHOLE[1:]} == times
    assert len(smoother.seen) == 4
    assert capsys.readouterr().err == "1 smoothed, 0 short of the level, 2 there already, 0 failed\n"


@pytest.mark.parametrize(
    ("settings", "others"),
    [
        ({}, {"level": 0.5}),
        ({}, {"nu": 4.0}),
        ({}, {"scheme": "fast"}),
        ({"scheme": "fast"}, {}),
        ({"scheme": "fast"}, {"scheme": "exact"}),
        ({"kappa": 9.0}, {}),
        ({}, {"iterations": 500}),
        ({"iterations": 500}, {"iterations": 600}),
        ({"max_iterations": 100}, {}),
    ],
)
def test_other_settings_make_the_pictures_anew(
    folder: Path, tmp_path: Path, smoother: Recorder, settings: dict[str, Any], others: dict[str, Any]
) -> None:
    smooth(smoother, folder, tmp_path / "out", **settings)
    before = [(tmp_path / "out" / name).read_bytes() for name in WHOLE]
    smoother.divisor = 4

    assert smooth(smoother, folder, tmp_path / "out", **others) == 0
    after = [(tmp_path / "out" / name).read_bytes() for name in WHOLE]
    assert smooth(smoother, folder, tmp_path / "out", **others) == 0

    assert len(smoother.seen) == 6
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_a_log_from_before_there_were_schemes_still_holds(folder: Path, tmp_path: Path, smoother: Recorder) -> None:
    out = tmp_path / "out"
    smooth(smoother, folder, out)
    old = ("picture", "from", "made", "level", "nu", "version", "outcome")
    lines = [{name: line[name] for name in old} for line in log_lines(out)]
    (out / LOG).write_text("".join(f"\n{json.dumps(line)}" for line in lines))

    assert smooth(smoother, folder, out) == 0
    assert len(smoother.seen) == 3


def test_another_picture_or_version_of_the_method_is_smoothed_anew(
    folder: Path, tmp_path: Path, smoother: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    smooth(smoother, folder, tmp_path / "out")
    Image.new("RGB", SIZE, (90, 20, 30)).save(folder / "a.png")

    smooth(smoother, folder, tmp_path / "out")
    assert len(smoother.seen) == 4
    with Image.open(tmp_path / "out" / "a.png") as after:
        assert after.getpixel((0, 0)) == (45, 10, 15)

    monkeypatch.setattr(ViRoLBI, "version", ViRoLBI.version + 1)
    smooth(smoother, folder, tmp_path / "out")
    assert len(smoother.seen) == 7


@pytest.mark.parametrize("ours_before", [False, True])
def test_a_file_of_somebody_else_is_never_overwritten(
    folder: Path, tmp_path: Path, smoother: Recorder, capsys: pytest.CaptureFixture[str], ours_before: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if ours_before:
        smooth(smoother, folder, out)
    (out / "a.png").write_text("made by somebody")
    capsys.readouterr()

    assert smooth(smoother, folder, out, level=0.5) == 1

    assert (out / "a.png").read_text() == "made by somebody"
    assert files(out) == WHOLE
    report = capsys.readouterr().err
    assert f"failed: {out / 'a.png'} is there and not what this command made. Move it away" in report
    assert "2 smoothed, 0 short of the level, 0 there already, 1 failed" in report


@pytest.mark.parametrize("cut", [1, 30])
def test_a_note_that_a_kill_cut_short_spoils_no_other(
    folder: Path, tmp_path: Path, smoother: Recorder, cut: int
) -> None:
    out = tmp_path / "out"
    smooth(smoother, folder, out)
    log = out / LOG
    log.write_text(log.read_text()[:-cut])
    (out / "deep" / "er" / "c.jpg").unlink()  # the last: noted, and not put in its place

    assert smooth(smoother, folder, out) == 0
    assert smooth(smoother, folder, out) == 0

    assert len(smoother.seen) == 4


@pytest.mark.parametrize("in_its_place", [False, True])
def test_a_kill_before_or_after_a_picture_is_put_in_its_place_leaves_it_ours(
    folder: Path, tmp_path: Path, smoother: Recorder, monkeypatch: pytest.MonkeyPatch, in_its_place: bool
) -> None:
    smooth(smoother, folder, tmp_path / "out")
    smoother.divisor = 4
    replace = os.replace

    def killed(*paths: Path) -> None:
        if in_its_place:
            replace(*paths)
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            smooth(smoother, folder, tmp_path / "out", level=0.5)
    assert files(tmp_path / "out") == WHOLE

    assert smooth(smoother, folder, tmp_path / "out", level=0.5) == 0
    with Image.open(folder / "a.png") as before, Image.open(tmp_path / "out" / "a.png") as after:
        np.testing.assert_allclose(np.asarray(after), np.asarray(before) / 4, atol=0.5)


def test_a_log_that_cannot_be_read_is_named(folder: Path, tmp_path: Path, smoother: Recorder) -> None:
    (tmp_path / "out" / LOG).mkdir(parents=True)

    with pytest.raises(UserError, match=r"smooth.jsonl cannot be read: Is a directory"):
        smooth(smoother, folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        ("unreachable", "unreachable at level 0.6, left as it was"),
        ("max_iterations", "max_iterations at level 0.6, smoothed as far as it came"),
    ],
)
def test_pictures_that_do_not_reach_the_level_are_named_and_counted(
    folder: Path, tmp_path: Path, smoother: Recorder, capsys: pytest.CaptureFixture[str], outcome: str, line: str
) -> None:
    smoother.outcome = outcome

    assert smooth(smoother, folder, tmp_path / "out") == 0
    assert smooth(smoother, folder / "a.png", tmp_path / "one.png") == 0

    report = capsys.readouterr().err.splitlines()
    assert report == [
        *(f"{name}: {line}" for name in WHOLE),
        "0 smoothed, 3 short of the level, 0 there already, 0 failed",
        f"{folder / 'a.png'}: {line}",
        f"wrote {tmp_path / 'one.png'}",
    ]


def test_a_flat_picture_comes_back_as_it_was_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", SIZE, (10, 20, 30)).save(tmp_path / "in" / "flat.png")
    picture("RGB").save(tmp_path / "in" / "lively.png")

    assert smooth_pictures(tmp_path / "in", tmp_path / "out", InverseScaleSmoothing()) == 0

    with Image.open(tmp_path / "out" / "flat.png") as after:
        assert after.getcolors() == [(SIZE[0] * SIZE[1], (10, 20, 30))]
    assert capsys.readouterr().err.splitlines() == [
        "flat.png: unreachable at level 0.6, left as it was",
        "1 smoothed, 1 short of the level, 0 there already, 0 failed",
    ]


def test_pictures_that_cannot_be_read_are_named_and_do_not_stop_the_others(
    folder: Path, tmp_path: Path, smoother: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.png").write_text("broken")

    assert smooth(smoother, folder, tmp_path / "out") == 1

    assert files(tmp_path / "out") == WHOLE[1:]
    report = capsys.readouterr().err
    assert "2 smoothed, 0 short of the level, 0 there already, 1 failed" in report
    assert f"failed: expected a picture, found another format at {folder / 'a.png'}" in report


def test_pictures_of_several_frames_are_named_and_do_not_stop_the_others(
    folder: Path, tmp_path: Path, smoother: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = folder / "scan.tif"
    picture("RGB").save(pages, save_all=True, append_images=[picture("RGB")])

    assert smooth(smoother, folder, tmp_path / "out") == 1

    assert files(tmp_path / "out") == WHOLE
    report = capsys.readouterr().err
    assert f"failed: {pages} holds 2 frames; smooth knows single pictures." in report
    assert "3 smoothed, 0 short of the level, 0 there already, 1 failed" in report


def test_a_folder_that_cannot_be_read_is_named(
    folder: Path, tmp_path: Path, smoother: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(path: Path) -> Any:
        if path.name == "er":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", locked)

    with pytest.raises(UserError, match=r"the folder .*deep/er cannot be read: Permission denied"):
        smooth(smoother, folder, tmp_path / "out")
    assert smoother.seen == []


def test_an_output_folder_inside_the_input_is_not_smoothed_again(folder: Path, smoother: Recorder) -> None:
    assert smooth(smoother, folder, folder / "out") == 0
    assert smooth(smoother, folder, folder / "out") == 0

    assert files(folder / "out") == WHOLE
    assert len(smoother.seen) == 3


def test_a_folder_is_not_smoothed_into_itself(folder: Path, smoother: Recorder) -> None:
    for target in (folder, folder / "deep" / ".."):
        with pytest.raises(UserError, match="IN and OUT are the same folder; the originals would be lost"):
            smooth(smoother, folder, target)
    assert smoother.seen == []


def test_a_folder_cannot_go_into_a_file(folder: Path, tmp_path: Path, smoother: Recorder) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r"so OUT must be one too; .*file is a file"):
        smooth(smoother, folder, tmp_path / "file")


def test_a_folder_without_pictures_is_refused(tmp_path: Path, smoother: Recorder) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("")

    with pytest.raises(UserError, match=r"expected pictures \(.png, .jpg, .* in .*in, found none"):
        smooth(smoother, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_at_the_source_is_named(tmp_path: Path, smoother: Recorder) -> None:
    with pytest.raises(UserError, match=r"expected a picture or a folder of pictures, found nothing at .*nowhere"):
        smooth_pictures(tmp_path / "nowhere", tmp_path / "out", InverseScaleSmoothing())


@pytest.fixture
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)


def test_threads_change_neither_pictures_nor_what_is_said(
    tmp_path: Path, smoother: Recorder, capsys: pytest.CaptureFixture[str], four_threads: None
) -> None:
    (tmp_path / "in").mkdir()
    names = [f"{index:02}.png" for index in range(40)]
    for index, name in enumerate(names):
        Image.new("RGB", SIZE, (2 * index, 4, 6)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "17.png").write_text("broken")
    smoother.outcome = "unreachable"

    assert smooth(smoother, tmp_path / "in", tmp_path / "out") == 1

    said = capsys.readouterr().err.splitlines()
    assert ["17.png" if line.startswith("failed") else line[:6] for line in said[:-1]] == names
    assert {line["picture"] for line in log_lines(tmp_path / "out")} == {*names} - {"17.png"}
    for index in {*range(40)} - {17}:
        with Image.open(tmp_path / "out" / names[index]) as after:
            assert after.getcolors() == [(SIZE[0] * SIZE[1], (index, 2, 3))]
    assert smooth(smoother, tmp_path / "in", tmp_path / "out") == 1
    assert "0 smoothed, 0 short of the level, 39 there already, 1 failed" in capsys.readouterr().err


def test_an_interruption_among_threads_loses_nothing_that_was_made(
    folder: Path, tmp_path: Path, smoother: Recorder, four_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        if target.name == "b.PNG":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as during:
        during.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            smooth(smoother, folder, tmp_path / "out")
    assert {"a.png"} <= {*files(tmp_path / "out")} <= {"a.png", "deep/er/c.jpg"}

    assert smooth(smoother, folder, tmp_path / "out") == 0
    assert files(tmp_path / "out") == WHOLE


def test_the_commands_options_reach_the_method(folder: Path, tmp_path: Path) -> None:
    command = ["smooth", str(folder), str(tmp_path / "out"), "--nu", "4", "--scheme", "fast", "--iterations", "30"]

    assert cli(command, standalone_mode=False) == 0

    for line in log_lines(tmp_path / "out"):
        assert {name: line[name] for name in ("nu", "scheme", "iterations")} == {
            "nu": 4.0,
            "scheme": "fast",
            "iterations": 30,
        }
        assert "level" not in line
    with Image.open(folder / "a.png") as before, Image.open(tmp_path / "out" / "a.png") as after:
        expected = InverseScaleSmoothing(nu=4, scheme="fast", iterations=30)(before)
        np.testing.assert_array_equal(np.asarray(after), np.asarray(expected))
