"""The command line as a user meets it, in processes of its own."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.command_line import ROOT, harness, one_line, process

from defenses.virolbi.method import settings
from harness.commands import options
from harness.commands.list import print_names
from harness.records.database import FILE_NAME, Records

TIDY = [
    *("dataset", "backbone", "defense", "seed", "suite", "condition", "severity", "threat", "preprocess"),
    *("n_images", "n_correct", "accuracy", "ci_low", "ci_high"),
]
QUICK = (
    *("--epochs", "1", "--train-limit", "256", "--limit", "12"),
    *("--suite", "clean,low_resolution,adversarial:attacks=fgsm"),
)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two defenses over three suites."""
    out = tmp_path_factory.mktemp("run")
    done = process("run", "--defense", "vanilla,virolbi_fixed:nu=2,level=0.4", *QUICK, "--out", out, cwd=out)
    assert done.returncode == 0, done.stderr
    return out


def predictions(folder: Path) -> dict[str, bytes]:
    with sqlite3.connect(folder / FILE_NAME) as connection:
        return dict(connection.execute("SELECT spec, predictions FROM cells WHERE status='done'"))


def test_a_run_writes_every_table_in_three_formats(finished: Path) -> None:
    written = {path.name for path in (finished / "tables").iterdir()}
    assert {"summary.md", "table2.tex", "table3.csv", "table2.md"} <= written
    assert "virolbi_fixed:nu=2,level=0.4" in (finished / "tables" / "table3.md").read_text()


def test_the_same_command_again_computes_nothing(finished: Path) -> None:
    before = predictions(finished)
    again = harness("run", "--defense", "vanilla,virolbi_fixed:level=0.4,nu=2", *QUICK, "--out", finished)
    assert again.returncode == 0, again.stderr
    assert f"0 cells evaluated, {len(before)} recorded before, 0 failed" in again.stderr
    assert predictions(finished) == before


def test_a_run_ends_with_a_screenful(finished: Path) -> None:
    command = ["run", "--defense", "vanilla,virolbi_fixed:nu=2,level=0.4", *QUICK, "--out", finished.name]

    done = harness(*command, cwd=finished.parent, env={"COLUMNS": "100"})
    every = harness(*command, "--tables", "all", cwd=finished.parent, env={"COLUMNS": "100"})

    assert done.stdout.startswith("Summary\n")
    *_, files, following = done.stderr.splitlines()
    assert len([*done.stdout.splitlines(), files, following]) <= 24
    assert max(map(len, [*done.stdout.splitlines(), files, following])) <= 100
    assert "figures" in files
    assert "--tables paired" in following
    assert every.stdout.startswith(done.stdout)
    assert "(Table 2 of the paper)" in every.stdout
    assert "(Table 2 of the paper)" not in done.stdout


def test_report_makes_the_same_bytes_again(finished: Path) -> None:
    before = {path.name: path.read_bytes() for path in (finished / "tables").iterdir()}
    again = process("report", finished)
    assert again.returncode == 0, again.stderr
    assert {path.name: path.read_bytes() for path in (finished / "tables").iterdir()} == before


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_export_gives_one_tidy_row_per_cell(finished: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"cells.{kind}"
    done = harness("export", finished, "--format", kind, "--to", target)
    assert done.returncode == 0, done.stderr
    frame = pd.read_csv(target) if kind == "csv" else pd.read_parquet(target)
    assert list(frame.columns[:14]) == TIDY
    assert len(frame) == len(predictions(finished))
    assert (frame.n_images == 12).all()
    assert np.allclose(frame.accuracy, 100 * frame.n_correct / frame.n_images)


def test_an_ending_that_contradicts_the_format_is_refused(finished: Path, tmp_path: Path) -> None:
    done = harness("export", finished, "--format", "parquet", "--to", tmp_path / "cells.csv")
    assert done.returncode == 2
    assert one_line(done.stderr, "names a .csv file, --format is parquet")
    assert not list(tmp_path.iterdir())


def test_every_condition_is_scored_without_and_with_preprocessing(finished: Path) -> None:
    with Records.open(finished) as records:
        frame = records.frame()
    bare = frame[frame.threat != "adaptive"]
    pairs = bare.groupby(["defense", "condition"]).preprocess.agg(set)
    assert pairs.loc["vanilla"].map(lambda names: names == {"none", "virolbi"}).all()
    fixed = pairs.loc["virolbi_fixed:nu=2,level=0.4"]
    assert fixed.map(lambda names: names == {"none", "virolbi:nu=2,level=0.4"}).all()
    assert "none" not in set(frame[frame.threat == "adaptive"].preprocess)


def test_a_killed_run_goes_on_and_ends_with_the_same_predictions(finished: Path, tmp_path: Path) -> None:
    command = ["run", "--defense", "vanilla,virolbi_fixed:nu=2,level=0.4", *QUICK, "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-m", "harness", *command], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and _cells(tmp_path) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = _cells(tmp_path)

    again = harness(*command)

    assert again.returncode == 0, again.stderr
    assert 3 <= kept < len(predictions(finished))
    assert f"{kept} recorded before" in again.stderr
    assert predictions(tmp_path) == predictions(finished)


def _cells(folder: Path) -> int:
    try:
        with sqlite3.connect(f"file:{folder / FILE_NAME}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT count(*) FROM cells").fetchone()[0]
    except sqlite3.Error:
        return 0


def test_a_killed_training_continues_from_its_last_epoch(tmp_path: Path) -> None:
    command = ["train", "--defense", "vanilla", "--epochs", "24", "--train-limit", "128", "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-m", "harness", *command], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list((tmp_path / "checkpoints").glob("*.state")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    again = harness(*command)

    assert again.returncode == 0, again.stderr
    assert re.search(r"continues after epoch [12]?\d of 24", again.stderr)
    assert Path(again.stdout.strip()).is_file()


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with Records.open(tmp_path, write=True):
        done = process("run", "--suite", "clean", *QUICK[:6], "--out", tmp_path)
    assert done.returncode == 2
    assert one_line(done.stderr, "another run is writing")


def test_the_page_s_defense_runs_as_it_stands(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
    assert len(code.splitlines()) <= 40
    (tmp_path / "webp.py").write_text(code)

    done = harness("run", "--plugin", "webp.py", "--defense", "webp", *QUICK, "--out", "out", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    with Records.open(tmp_path / "out") as records:
        frame = records.frame()
    assert set(frame.preprocess) == {"none", "webp"}
    assert set(frame.suite) == {"clean", "low_resolution", "adversarial:attacks=fgsm"}


def test_a_foreign_datasets_package_ahead_on_the_path_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("def load_dataset(name):\n    return name\n")
    probe = tmp_path / "probe.py"
    probe.write_text("import datasets\nassert datasets.load_dataset('x') == 'x'\nprint('theirs works')\n")

    done = process(
        "run",
        "--plugin",
        probe,
        "--defense",
        "vanilla",
        "--suite",
        "clean",
        *QUICK[:6],
        "--out",
        tmp_path / "out",
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )

    assert done.returncode == 0, done.stderr
    assert "theirs works" in done.stdout


def test_a_failing_cell_is_recorded_and_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "import torch\nfrom harness.contracts.defense import Defense\nfrom harness.registry import defenses\n"
        "class Nan(torch.nn.Module):\n"
        "    def __init__(self, model):\n        super().__init__()\n        self.model = model\n"
        "    def forward(self, images):\n        spoil = not self.training and len(images) == 12\n"
        "        return self.model(images) * (float('nan') if spoil else 1)\n"
        "@defenses.register('broken')\nclass Broken(Defense):\n    'Returns NaN.'\n"
        "    def protect(self, model):\n        return Nan(model)\n"
    )
    command = ["run", "--plugin", tmp_path / "broken.py", "--defense", "broken,vanilla", "--suite", "clean", *QUICK[:6]]

    done = harness(*command, "--out", tmp_path / "out")

    assert done.returncode == 1
    assert "failed: broken, clean: the model returned NaN or infinity." in done.stderr
    with Records.open(tmp_path / "out") as records:
        assert set(records.frame().defense) == {"vanilla"}
        assert len(records.failures()) == 2


def test_a_checkpoint_is_scored_instead_of_trained(finished: Path, tmp_path: Path) -> None:
    path = next((finished / "checkpoints").glob("*vanilla*.pt"))
    done = harness(
        "run", "--defense", "vanilla", "--suite", "clean", "--limit", "12", "--checkpoint", path, "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    both = [cells for cells in predictions(finished) if '"suite": "clean"' in cells and '"defense": "vanilla"' in cells]
    assert set(predictions(tmp_path)) == set(both)


def test_options_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        'defense = ["vanilla"]\nsuite = "clean"\nlimit = 7\ntrain-limit = 64\nepochs = 1\nseed = [3]\n'
    )
    done = harness("run", "--config", tmp_path / "run.toml", "--limit", "5", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with Records.open(tmp_path / "out") as records:
        frame = records.frame()
    assert set(frame.seed) == {3}
    assert set(frame.n_images) == {5}


def test_smooth_keeps_size_and_format_and_skips_what_is_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    Image.fromarray(rng.integers(0, 256, (9, 14, 3), np.uint8)).save(tmp_path / "in" / "a.png")
    Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / "in" / "deep" / "b.png")

    first = harness("smooth", tmp_path / "in", tmp_path / "out", "--level", "0.4")
    second = harness("smooth", tmp_path / "in", tmp_path / "out", "--level", "0.4")

    assert first.returncode == second.returncode == 0, first.stderr
    assert "2 smoothed" in first.stderr
    assert "2 there already" in second.stderr
    with Image.open(tmp_path / "out" / "a.png") as smoothed, Image.open(tmp_path / "in" / "a.png") as original:
        assert smoothed.size == original.size
        assert np.asarray(smoothed).std() < np.asarray(original).std()
    with Image.open(tmp_path / "out" / "deep" / "b.png") as smoothed:
        assert smoothed.mode == "L"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['harness', 'run', '--help']; from harness.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'numba', 'rich'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--epsilon-space" in done.stdout


def test_list_shows_every_kind() -> None:
    done = harness("list", env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    for name in ("virolbi_iterative", "low_resolution", "imagenet100", "vit_tiny", "pgd", "gaussian_noise", "table3"):
        assert name in done.stdout


def test_list_tells_all_about_one_name(capsys: pytest.CaptureFixture) -> None:
    print_names("pgd:steps=3")
    about = capsys.readouterr().out
    print_names("parquet")
    needed = capsys.readouterr().out
    print_names("attacks")
    kind = capsys.readouterr().out
    typo = harness("list", "pdg")

    assert "In full: pgd:steps=20,relative_step=0.25,restarts=1,loss=ce,targets=0,early_stop=false" in about
    assert "Madry et al. 2018" in about
    assert "In full: parquet:folder=FOLDER\n\nFurther parameters, unset: name, size" in needed
    assert "autoattack" in kind
    assert "vanilla" not in kind
    assert typo.returncode == 2
    assert "unknown kind or name 'pdg'. Did you mean pgd?" in typo.stderr


def test_the_schemes_on_offer_are_those_there_are() -> None:
    """The command line names them itself, so that help needs not wait for PyTorch."""
    assert options.SCHEMES == settings.SCHEMES
