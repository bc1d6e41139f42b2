"""Smoothing folders: pictures and folders that cannot be smoothed are named, threads change nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.picture_folders import SIZE, WHOLE, Recorder, files, log_lines, picture, smooth

from defenses.virolbi import InverseScaleSmoothing
from defenses.virolbi.apps.picture_files import smooth_file
from defenses.virolbi.apps.pictures import smooth_pictures
from harness.__main__ import cli
from harness.errors import UserError


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
    assert f"failed: expected a picture, got another format at {folder / 'a.png'}" in report


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

    with pytest.raises(UserError, match=r"expected pictures \(.png, .jpg, .* in .*in, got none"):
        smooth(smoother, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_at_the_source_is_named(tmp_path: Path, smoother: Recorder) -> None:
    with pytest.raises(UserError, match=r"expected a picture or a folder of pictures, got nothing at .*nowhere"):
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


def test_a_picture_that_the_disk_did_not_take_is_an_error_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    picture("RGB").save(tmp_path / "in.png")
    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(UserError, match=r"out\.png cannot be written: No space left on device"):
        smooth_file(tmp_path / "in.png", tmp_path / "out.png", Recorder())
    assert files(tmp_path) == ["in.png"]
