"""`bench` as a user meets it: tables, files that only grow, what was extrapolated, mistakes, interruptions."""

from __future__ import annotations

import contextlib
import csv
import io
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

from defenses.virolbi import project
from defenses.virolbi.projected import walk
from defenses.virolbi.settings import make_settings
from harness import cli
from harness.bench.images import from_dataset, generated, gray_picture
from harness.bench.ledger import Ledger
from harness.bench.peak import flops_per_pixel, peak_flops
from harness.bench.projection import METHODS
from harness.bench.rivals import by_csgraph, by_label
from harness.bench.sheet import digits, short_time
from harness.bench.timing import plan, repeatedly, spread
from harness.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
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
        patch.setattr(cli, "limit_threads", lambda threads: None)  # NumPy is there already
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


def test_the_papers_seconds_stand_beside_its_own_setting_only(measured: tuple[Path, str], tmp_path: Path) -> None:
    done = bench("projection", "--methods", "graph", "--scaling", "", "--repeats", "1", "--out", tmp_path)

    assert "4.87 ± 0.09" in done.stdout
    assert "4.87" not in measured[1]


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


# Records, mistakes and interruptions


def test_records_of_earlier_runs_are_kept(measured: tuple[Path, str], tmp_path: Path) -> None:
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


def test_an_interrupted_run_keeps_and_shows_what_it_measured(tmp_path: Path) -> None:
    options = ["--size", "24", "--iterations", "300", "--scaling", "", "--budget", "100", "--methods", "label,svd"]
    command = [sys.executable, "-m", "harness", "bench", "projection", *options, "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    file = tmp_path / "projection.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (file.exists() and ",label," in file.read_text()):
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=120)

    assert process.returncode == 130, told
    assert "measurements made are kept and shown" in told
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
    "no picture's format": (["projection", "--image", "README.md"], "found another format at README.md"),
    "sizes": (["smoothing", "--sizes", "8,1"], "--sizes must be 2 or more, got 1"),
    "batches": (["smoothing", "--batches", "0"], "--batches must be 1 or more, got 0"),
    "threads": (["smoothing", "--threads", "0"], "--threads must be 1 or more, got 0"),
    "scheme": (["smoothing", "--schemes", "exct"], r"unknown scheme 'exct'\. Did you mean exact"),
    "nu": (["smoothing", "--nu", "0"], "--nu must be a positive number, got 0"),
    "nu words": (["smoothing", "--nu", "x"], "--nu expects numbers such as 1,16, got 'x'"),
    "level": (["smoothing", "--level", "2"], "--level must be a number from 0 to 1"),
    "seconds": (["smoothing", "--seconds", "0"], "--seconds must be above 0, got 0"),
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
        Ledger(tmp_path / "file" / "out", "projection", ["seconds"], torch.device("cpu"))


# The parts


@pytest.mark.parametrize("rival", [by_csgraph, by_label])
@pytest.mark.parametrize("size", [2, 9, 24])
def test_the_rivals_project_as_we_do(rival, size: int) -> None:
    image = torch.from_numpy(gray_picture(None, size)[0])

    for at in walk(image, make_settings(size, size, kappa=5.0, nu=1.0, step=None), [1, 300, 900]):
        found = rival(at.u.numpy(), at.cut_h.numpy(), at.cut_v.numpy())
        np.testing.assert_allclose(found, project(at.u, at.cut_h, at.cut_v).numpy(), atol=1e-7)


def test_the_photograph_follows_the_path_that_is_known() -> None:
    """The reference implementation of the paper reached level 0.3 of the 84×84 astronaut after 1,701 iterations."""
    from defenses.virolbi import smooth

    image, name = gray_picture(None, 84)

    assert name == "astronaut of scikit-image"
    assert int(smooth(image, level=0.3).iterations) == pytest.approx(1701, rel=0.01)


@pytest.mark.parametrize(("iterations", "count"), [(15_000, 1), (15_000, 7), (20, 20), (5, 3), (1, 1)])
def test_measured_iterations_are_spread_evenly(iterations: int, count: int) -> None:
    stops = spread(iterations, count)

    assert len(set(stops)) == count
    assert stops[0] >= 1
    assert stops[-1] <= iterations
    assert sum(stops) / count == pytest.approx((iterations + 1) / 2, abs=0.5)
    assert np.ptp(np.diff(stops)) <= 1 if count > 1 else True


@pytest.mark.parametrize("cost", [1e-6, 1e-3, 0.1, 1, 100])
def test_a_plan_stays_within_its_budget(cost: float) -> None:
    repeats, measured = plan(cost, 15_000, budget=10, repeats=5)

    assert repeats * measured * cost <= max(10, cost)
    assert 1 <= repeats <= 5
    assert 1 <= measured <= 15_000


def test_repeating_ends_with_the_budget_and_with_the_number_asked_for() -> None:
    assert len(list(repeatedly(lambda: None, budget=10, most=4))) == 4
    assert len(list(repeatedly(lambda: time.sleep(0.01), budget=1e-9, most=4))) == 1


def test_flops_are_counted_by_hand() -> None:
    """32×32×3 by the paper's step: per pixel 3 channels of 2 edges' 5 and 8 for u, and 2 edges shrunk by 9."""
    assert flops_per_pixel(3, "paper", 32) == 3 * (2 * 5 + 8) + 2 * 9
    assert flops_per_pixel(1, "paper", 84) == 2 * 6 + 8
    assert flops_per_pixel(3, "fast", 32) == flops_per_pixel(3, "paper", 32) + 3 * 2
    assert flops_per_pixel(3, "exact", 64) - flops_per_pixel(3, "exact", 32) == 3 * 2 * 2 * 32


def test_the_measured_peak_is_one_of_a_single_core() -> None:
    assert 1e9 < peak_flops(torch.device("cpu"), 1) < 1e12


def test_generated_images_are_the_same_for_every_batch_and_have_unequal_neighbours() -> None:
    make = generated()

    few, many = make(2, 12), make(5, 12)

    assert few.dtype == np.float32
    assert (few >= 0).all()
    assert (few <= 1).all()
    np.testing.assert_array_equal(few, many[:2])
    assert not np.array_equal(few[0], few[1])
    assert (np.diff(few, axis=3) != 0).mean() > 0.95


def test_images_of_a_data_set_are_taken_over_and_over_and_scaled() -> None:
    images = np.arange(3 * 16, dtype=np.uint8).reshape(3, 1, 4, 4)
    make = from_dataset(images)

    assert make(4, 4).tolist() == images[[0, 1, 2, 0]].tolist()
    assert make(2, 8).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("number", "shown"), [(0.00041234, "0.000412"), (0.9996, "1.00"), (9.996, "10.0"), (1653210, "1,650,000"), (0, "0")]
)
def test_numbers_are_shown_to_three_digits(number: float, shown: str) -> None:
    assert digits(number) == shown


def test_times_are_shown_in_the_unit_that_suits_them() -> None:
    assert [short_time(seconds) for seconds in (2.41e-6, 9.999e-4, 0.0169, 109.6)] == [
        *("2.41 µs", "1,000 µs", "16.9 ms", "110 s")
    ]
