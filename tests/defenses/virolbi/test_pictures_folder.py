"""The smooth command on a picture or a folder: what is made, made anew, left alone and named."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.picture_folders import SIZE, WHOLE, Recorder, files, log_lines, picture, smooth

from defenses.virolbi import ViRoLBI
from defenses.virolbi.apps.folder_log import LOG, FolderLog
from defenses.virolbi.apps.pictures import smooth_pictures
from harness.errors import UserError


def saved(folder: Path) -> Path:
    path = folder / "picture.png"
    picture("RGB").save(path)
    return path


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


def test_names_that_are_alike_do_not_share_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads write `IMG 1` and `IMG-1` at one moment."""
    meeting = threading.Barrier(2, timeout=20)
    add = FolderLog.add

    def together(log: FolderLog, *given: object) -> None:
        meeting.wait()
        add(log, *given)

    monkeypatch.setattr(FolderLog, "add", together)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    (tmp_path / "in").mkdir()
    for name, shade in (("IMG 1", 40), ("IMG-1", 200)):
        Image.new("L", SIZE, shade).save(tmp_path / "in" / f"{name}.png")

    assert smooth(Recorder(), tmp_path / "in", tmp_path / "out") == 0
    shades = [np.asarray(Image.open(tmp_path / "out" / f"{name}.png")).max() for name in ("IMG 1", "IMG-1")]
    assert shades == [20, 100]
