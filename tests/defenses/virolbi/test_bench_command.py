"""`bench` as a user meets it: tables, files that only grow, what was extrapolated, mistakes, interruptions."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import itertools
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from defenses.virolbi import smooth
from defenses.virolbi.bench import projection, schemes, schemes_report
from defenses.virolbi.bench.images import generated
from defenses.virolbi.bench.measurements import Measurements
from defenses.virolbi.bench.projection import METHODS, Course, Setup
from defenses.virolbi.bench.projection_report import make_table
from defenses.virolbi.bench.schemes import COLUMNS, LONG, VARIANTS, Stage, _deviations, measure
from defenses.virolbi.bench.timing import Repeats
from defenses.virolbi.commands import bench as bench_cli
from defenses.virolbi.method.settings import make_settings
from harness import __main__ as cli
from harness.errors import UserError
from harness.records.exhibits import Exhibits

ROOT = Path(__file__).resolve().parents[3]
TINY = ("--size", "8", "--iterations", "20", "--repeats", "2", "--scaling", "4")
SMALL = ("--sizes", "8,12", "--batches", "1,2", "--threads", "1", "--nu", "1,4", "--seconds", "0.001")


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def bench(*arguments: object) -> Ended:
    """What `python -m harness bench …` does, in this process, whose kernels are compiled already."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["harness", "bench", *map(str, arguments)])
        patch.setattr(bench_cli, "limit_threads", lambda threads: None)  # NumPy is there already
        patch.setenv("COLUMNS", "100")
        patch.chdir(ROOT)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a run of both commands, and what Table 7's printed."""
    out = tmp_path_factory.mktemp("bench")
    for command, options in (("smoothing", SMALL), ("projection", (*TINY, "--budget", "0.02"))):
        done = bench(command, *options, "--out", out)
        assert done.returncode == 0, done.stderr
    return out, done.stdout


# Table 7


def test_table_7_has_a_line_for_every_method(measured: tuple[Path, str]) -> None:
    out, printed = measured

    for name in ("none (gradient)", "graph (ours)", "skimage label", "SciPy csgraph", "LSQR", "QR", "SVD"):
        assert name in printed
        assert name in (out / "projection.md").read_text()
    assert "20 iterations, 8×8 gray image" in printed
    assert r"\toprule" in (out / "projection.tex").read_text()


def test_every_repeat_is_a_row_with_its_hardware_and_versions(measured: tuple[Path, str]) -> None:
    frame = pd.read_csv(measured[0] / "projection.csv")

    assert set(frame.method) == set(METHODS)
    assert set(frame["size"]) == {4, 8}
    assert frame[["run", "command", "device", "torch", "numpy", "scipy", "cores"]].notna().all().all()
    assert frame.run.nunique() == 1
    assert (frame.seconds > 0).all()
    assert (frame.deviation.dropna() < 1e-6).all()
    some = frame[frame.projection_seconds.notna()]
    np.testing.assert_allclose(some.seconds, some.gradient_seconds + 20 * some.projection_seconds)


def test_the_seconds_of_the_size_asked_for_are_kept_for_reports(measured: tuple[Path, str]) -> None:
    frame = pd.read_csv(measured[0] / "projection.csv").query("size == 8")

    kept = Exhibits([measured[0]])["projection"]

    assert (set(kept.arrays), kept.metadata["size"], kept.metadata["iterations"]) == (set(METHODS), 8, 20)
    for method, seconds in kept.arrays.items():
        np.testing.assert_allclose(seconds, frame[frame.method == method].seconds)
    assert kept.metadata["measured"]["graph"] == 20


def test_what_was_extrapolated_is_said(measured: tuple[Path, str], tmp_path: Path) -> None:
    done = bench("projection", *TINY, "--methods", "graph,svd", "--budget", "1e-9", "--out", tmp_path)

    frame = pd.read_csv(tmp_path / "projection.csv").set_index("method")
    row = frame[frame["size"] == 8].loc["svd"]
    assert row.extrapolated
    assert (row.measured, str(row.measured_at)) == (1, "11")
    assert not frame.loc["graph"].extrapolated.any()
    assert "Extrapolated to 20 iterations: SVD from iteration 11 alone." in re.sub(r"\s+", " ", done.stdout)


def test_nothing_is_extrapolated_where_there_is_time(tmp_path: Path) -> None:
    done = bench("projection", *TINY[:-1], "", "--methods", "csgraph", "--budget", "5", "--out", tmp_path)

    frame = pd.read_csv(tmp_path / "projection.csv")
    assert frame.measured.tolist() == [20, 20]
    assert not frame.extrapolated.any()
    assert "Every projection of the path was timed" in re.sub(r"\s+", " ", done.stdout)


def test_the_papers_seconds_are_shown_for_its_own_setting_only(measured: tuple[Path, str], tmp_path: Path) -> None:
    done = bench("projection", "--methods", "graph", "--scaling", "", "--repeats", "1", "--out", tmp_path)

    assert "4.87 ± 0.09" in done.stdout
    assert "4.87" not in measured[1]


def test_a_title_names_table_7_for_its_own_setting_only(measured: tuple[Path, str]) -> None:
    setup = Setup(["graph"], 84, 15_000, 1, 1.0)

    assert "Table 7" not in measured[1]
    assert make_table([], setup).title == "15,000 iterations, 84×84 gray image (Table 7 of the paper)"
    for other in (setup._replace(size=32), setup._replace(iterations=1000)):
        assert "Table 7" not in make_table([], other).title


def test_every_repeat_of_what_is_extrapolated_measures_other_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "plan_repeats", lambda *_: Repeats(repeats=3, measured=2))
    course = Course(torch.rand(1, 6, 6), "noise", make_settings(6, 6, kappa=5.0, nu=1.0, step=None), 60)

    rows = projection._extrapolated("csgraph", course, Setup(["csgraph"], 6, 60, 3, 5.0), gradient=0.1)

    assert [row["measured_at"] for row in rows] == ["6;36", "16;46", "26;56"]


def test_the_iterations_of_all_repeats_are_named() -> None:
    run = {"method": "lsqr", "image": "noise", "device": "a core", "run": "2026-01-01", "nu": 1.0, "kappa": 5.0}
    row = {**run, "size": 84, "iterations": 20, "extrapolated": True, "seconds": 2.0, "projection_seconds": 0.1}
    rows = [{**row, "measured": 2, "measured_at": at} for at in ("3;13", "8;18")]

    caption = " ".join(make_table(rows, Setup(["lsqr"], 84, 20, 2, 1.0)).caption)

    assert "Extrapolated to 20 iterations: LSQR from 4 iterations (3, 8, 13, 18)." in caption


def test_a_picture_may_be_given(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / "noise.png")

    done = bench("projection", *TINY, "--methods", "graph", "--image", tmp_path / "noise.png", "--out", tmp_path)

    assert done.returncode == 0, done.stderr
    assert "Image: noise.png" in done.stdout


# Smoothing


def test_every_point_of_a_sweep_is_measured(measured: tuple[Path, str]) -> None:
    frame = pd.read_csv(measured[0] / "smoothing.csv")

    assert set(frame.scheme) == {"paper", "exact", "fast"}
    assert set(zip(frame["size"], frame.batch, strict=True)) == {(8, 1), (8, 2), (12, 1)}
    assert set(zip(frame.scheme, frame.nu, strict=True)) >= {(s, nu) for s in ("paper", "fast") for nu in (1, 4)}
    np.testing.assert_allclose(frame.images_per_second, frame.batch / frame.seconds)
    np.testing.assert_allclose(frame.image_iterations_per_second, frame.iterations / frame.seconds)
    assert frame.share_of_peak.between(0, 1, inclusive="neither").all()


def test_both_draw_a_plot_that_says_nothing_of_when_it_was_drawn(measured: tuple[Path, str]) -> None:
    for name in ("projection", "smoothing"):
        with Image.open(measured[0] / f"{name}.png") as picture:
            assert picture.size > (600, 400)
            assert np.asarray(picture.convert("L")).std() > 5
            assert not set(picture.info) & {"Software", "Creation Time"}
        assert b"CreationDate" not in (measured[0] / f"{name}.pdf").read_bytes()


def test_a_data_set_may_be_smoothed(tmp_path: Path) -> None:
    options = ("--batches", "2", "--threads", "1", "--nu", "1", "--schemes", "fast", "--seconds", "0.001")
    done = bench("smoothing", *options, "--dataset", "shapes", "--level", "0.2", "--out", tmp_path)

    frame = pd.read_csv(tmp_path / "smoothing.csv")
    assert done.returncode == 0, done.stderr
    assert set(frame.images) == {"shapes"}
    assert set(frame["size"]) == {32}
    assert set(frame.level) == {0.2}


# Schemes


def test_schemes_are_measured_at_every_level_and_coupling(tmp_path: Path) -> None:
    done = bench("schemes", "--count", "2", "--nu", "1,4", "--levels", "0.3,0.1", "--out", tmp_path)

    frame = pd.read_csv(tmp_path / "schemes.csv").set_index(["variant", "nu", "level"]).sort_index()
    assert done.returncode == 0, done.stderr
    assert set(frame.index) == set(itertools.product(VARIANTS, (1.0, 4.0), (0.1, 0.3)))
    assert (frame.reached == 2).all()
    assert (frame.loc["paper", ["mean_difference", "largest_difference"]] == 0).all().all()
    assert (frame.loc["paper"].common_support == 1).all()
    others = frame.drop("paper", level=0)
    assert (others.mean_difference > 0).all()
    assert (others.mean_difference <= others.worst_image_difference).all()
    assert (others.worst_image_difference <= others.largest_difference).all()
    assert others.common_support.between(0.8, 1).all()
    assert (frame.loc[(LONG, 1.0)].iterations < 0.6 * frame.loc[("paper", 1.0)].iterations).all()
    assert "Images: generated (dead leaves), 2 of 32×32×3" in re.sub(r"\s+", " ", done.stdout)
    assert (tmp_path / "schemes.md").read_text().count("| exact |") == 4


def test_differences_between_schemes_are_those_of_their_smoothed_images(tmp_path: Path) -> None:
    bench("schemes", "--count", "2", "--nu", "4", "--levels", "0.1,0.4", "--out", tmp_path)

    row = pd.read_csv(tmp_path / "schemes.csv").set_index(["variant", "level"]).loc["fast", 0.4]
    images = generated()(2, 32)
    paper, fast = (smooth(images, nu=4, level=0.4, scheme=scheme) for scheme in ("paper", "fast"))
    off = 255 * np.abs(fast.images.astype(float) - paper.images)
    assert row.mean_difference == pytest.approx(off.mean())
    assert row.worst_image_difference == pytest.approx(off.mean((1, 2, 3)).max())
    assert row.largest_difference == pytest.approx(off.max())
    assert row.iterations == pytest.approx(fast.iterations.mean())


def test_supports_are_compared_by_what_they_have_in_common() -> None:
    """By hand: 1 of 3 edges in either, all of 2, and none in either; the fourth image did not reach its level."""
    ours = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]]).bool()
    theirs = torch.tensor([[1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 1]]).bool()
    reached, images = np.array([True, True, True, False]), torch.zeros(4, 1, 1, 2)
    stage = Stage(images.index_fill(0, torch.tensor([1, 3]), 0.5), ours, reached, 1.0, 1.0)

    row = _deviations(stage, Stage(images, theirs, np.array([True] * 4), 1.0, 1.0))

    assert row["common_support"] == pytest.approx((1 / 3 + 1 + 1) / 3)
    assert row["mean_difference"] == pytest.approx(127.5 / 3)
    assert (row["worst_image_difference"], row["largest_difference"], row["reached"]) == (127.5, 127.5, 3)


def test_images_that_cannot_reach_a_level_are_left_out_and_counted(tmp_path: Path) -> None:
    lively_and_flat = generated()(2, 8)
    lively_and_flat[1] = 0.5
    measurements = Measurements(tmp_path, "schemes", COLUMNS, torch.device("cpu"))

    measure(schemes.Setup(2, 8, [1.0], [0.2, 0.5]), lambda count, size: lively_and_flat, "two", measurements)

    assert {row["reached"] for row in measurements.rows} == {1}
    assert {row["common_support"] for row in measurements.rows if row["variant"] == "paper"} == {1.0}
    assert "left out there, up to 1 of 2." in " ".join(schemes_report.make_table(measurements.rows).caption)


# Earlier runs, mistakes and interruptions


def test_measurements_of_earlier_runs_are_kept(measured: tuple[Path, str], tmp_path: Path) -> None:
    name = "projection.csv"
    before = (measured[0] / name).read_text()
    (tmp_path / name).write_text(before.rstrip("\n"))  # as a kill might leave it

    done = bench("projection", *TINY, "--methods", "graph", "--out", tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).read_text().startswith(before)
    assert pd.read_csv(tmp_path / name).run.nunique() == 2


def test_a_file_of_other_columns_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "projection.csv").write_text("a,b\n1,2\n")

    done = bench("projection", *TINY, "--out", tmp_path)

    assert done.returncode == 2
    assert "has other columns than this version writes. Choose another --out." in done.stderr
    assert (tmp_path / "projection.csv").read_text() == "a,b\n1,2\n"


def test_a_file_that_is_no_text_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "projection.csv").write_bytes(b"\xff\xfe\x00run")

    done = bench("projection", *TINY, "--out", tmp_path)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("has other columns than this version writes. Choose another --out.")
    assert (tmp_path / "projection.csv").read_bytes() == b"\xff\xfe\x00run"


def test_a_disk_that_fills_up_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measurements = Measurements(tmp_path, "projection", ["seconds"], torch.device("cpu"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"projection.csv cannot be written: No space left on device\. Choose another"):
        measurements.add(seconds=1.0)
    assert measurements.rows == []


def test_an_interrupted_run_keeps_and_shows_what_it_measured(tmp_path: Path) -> None:
    options = ["--size", "24", "--iterations", "300", "--scaling", "", "--budget", "100", "--methods", "label,svd"]
    command = [sys.executable, "-m", "harness", "bench", "projection", *options, "--out", str(tmp_path)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a job in the background ignores
    )
    file = tmp_path / "projection.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (file.exists() and ",label," in file.read_text()):
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=120)

    assert process.returncode == 130, told
    assert "measurements made are kept, and the table shows them" in told
    assert "skimage label" in printed
    with file.open(newline="") as stream:
        assert {row["method"] for row in csv.DictReader(stream)} == {"label"}


MISTAKES = {
    "unknown method": (["projection", "--methods", "svdd"], r"unknown projection method 'svdd'\. Did you mean svd"),
    "no method": (["projection", "--methods", ","], "--methods must be at least one of gradient, graph"),
    "size 1": (["projection", "--size", "1"], "--size must be 2 or more pixels a side, got 1"),
    "scaling 0": (["projection", "--scaling", "0"], "--scaling must be 2 or more pixels a side, got 0"),
    "scaling words": (["projection", "--scaling", "x"], "--scaling expects whole numbers such as 16,32, got 'x'"),
    "iterations 0": (["projection", "--iterations", "0"], "--iterations must be 1 or more, got 0"),
    "repeats 0": (["projection", "--repeats", "0"], "--repeats must be 1 or more, got 0"),
    "threads 0": (["projection", "--threads", "0"], "--threads must be 1 or more, got 0"),
    "budget 0": (["projection", "--budget", "nan"], "--budget must be above 0 seconds, got nan"),
    "no picture": (["projection", "--image", "nowhere.png"], "could not read nowhere.png: No such file or directory"),
    "no picture's format": (
        ["projection", "--image", "README.md"],
        "expected a picture for --image, could not read README.md: cannot identify",
    ),
    "sizes": (["smoothing", "--sizes", "8,1"], "--sizes must be 2 or more, got 1"),
    "batches": (["smoothing", "--batches", "0"], "--batches must be 1 or more, got 0"),
    "threads": (["smoothing", "--threads", "0"], "--threads must be 1 or more, got 0"),
    "scheme": (["smoothing", "--schemes", "exct"], r"unknown scheme 'exct'\. Did you mean exact"),
    "nu": (["smoothing", "--nu", "0"], "--nu must be a positive number, got 0"),
    "nu words": (["smoothing", "--nu", "x"], "--nu expects numbers such as 1,16, got 'x'"),
    "level": (["smoothing", "--level", "2"], "--level must be a number from 0 to 1"),
    "seconds": (["smoothing", "--seconds", "0"], "--seconds must be above 0, got 0"),
    "no images": (["schemes", "--count", "0"], "--count must be 1 or more, got 0"),
    "levels": (["schemes", "--levels", "0.1,2"], "--levels must be a number from 0 to 1"),
    "no levels": (["schemes", "--levels", ""], "--levels must be at least one number, got nothing"),
    "nu below 0": (["schemes", "--nu", "-1"], "--nu must be a positive number, got -1"),
    "more images than there are": (
        ["schemes", "--dataset", "shapes", "--count", "99999"],
        r"--count must be from 1 to \d+, the number of test images, got 99999",
    ),
    "device": (["smoothing", "--device", "gpu"], "--device expects auto, cpu or an available device"),
    "dataset": (["smoothing", "--dataset", "cifar11"], r"unknown dataset 'cifar11'\. Did you mean cifar10"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_one_line_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    arguments, message = MISTAKES[name]

    done = bench(*arguments, "--out", tmp_path / "out")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r"cannot be written: .*Choose another --out"):
        Measurements(tmp_path / "file" / "out", "projection", ["seconds"], torch.device("cpu"))
