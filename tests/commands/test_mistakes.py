"""Every mistake on the command line is answered in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command_line import call, one_line

from harness.models import checkpoints
from harness.records.database import FILE_NAME

MISTAKES = {
    "unknown defense": (["--defense", "virolbi_fixd"], r"unknown defense 'virolbi_fixd'\. Did you mean virolbi_fixed"),
    "unknown parameter": (["--defense", "virolbi_fixed:mu=1"], r"has no parameter 'mu'\. Its parameters: nu, level"),
    "wrong type": (["--defense", "virolbi_fixed:nu=high"], "nu must be of type float, got 'high'"),
    "unknown suite": (["--suite", "corruptoin"], r"unknown suite 'corruptoin'\. Did you mean corruption"),
    "unknown dataset": (["--dataset", "cifar11"], r"unknown dataset 'cifar11'\. Did you mean cifar10"),
    "unknown backbone": (["--backbone", "resnet19"], r"unknown backbone 'resnet19'\. Did you mean resnet18"),
    "unknown corruption": (["--corruptions", "rain"], "unknown corruption 'rain'"),
    "unknown table": (["--tables", "tabel1"], r"unknown table 'tabel1'\. Did you mean table1"),
    "limit 0": (["--limit", "0"], "--limit must be 1 or more test images, got 0"),
    "level 1.5": (["--level", "1.5"], "--level must be above 0 and at most 1, got 1.5"),
    "level NaN": (["--level", "nan"], "--level must be above 0 and at most 1, got nan"),
    "nu 0": (["--nu", "0"], "--nu must be a number above 0, got 0"),
    "epochs 0": (["--epochs", "0"], "--epochs must be 1 or more, got 0"),
    "epsilon 0": (["--epsilons", "0"], "--epsilons must be above 0 and finite"),
    "epsilon words": (["--epsilons", "big"], "--epsilons expects numbers such as 8/255"),
    "seed words": (["--seed", "x"], "--seed expects whole numbers"),
    "no defense": (["--defense", ""], "--defense must be at least one name, got nothing"),
    "device": (["--device", "cuda:99"], r"available device such as cuda:0, got 'cuda:99'\. Use --device cpu\.$"),
    "device words": (["--device", "gpu"], r"--device expects .* got 'gpu'\. Use --device cpu\.$"),
    "plugin": (["--plugin", "nowhere.py"], "--plugin expects a Python file, got 'nowhere.py'"),
    "config": (["--config", "nowhere.toml"], "expected a TOML file for --config, could not read nowhere.toml"),
    "checkpoint": (["--checkpoint", "nowhere.pt"], "expected a checkpoint file, found none at nowhere.pt"),
    "two for one checkpoint": (
        ["--checkpoint", "x.pt", "--defense", "vanilla,blur"],
        "for one defense and one seed, got 2",
    ),
    "data folder": (["--dataset", "parquet:nowhere"], "nowhere"),
    "image folder": (["--dataset", "imagefolder:nowhere"], "nowhere"),
    "pretrained": (["--backbone", "resnet_small:pretrained=true"], "resnet_small has no pretrained weights"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments, expected = MISTAKES[name]
    usual = {"--out": str(tmp_path / "out"), "--suite": "clean,corruption", "--epochs": "1", "--limit": "4"}
    rest = [text for key, value in usual.items() if key not in arguments for text in (key, value)]

    code, stderr = call(monkeypatch, capsys, "run", *arguments, *rest)

    assert code == 2, stderr
    assert one_line(stderr, expected), stderr


def test_an_output_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    code, stderr = call(monkeypatch, capsys, "run", "--suite", "clean", "--out", str(tmp_path / "file" / "out"))
    assert code == 2
    assert one_line(stderr, "cannot be written")


def test_records_that_are_not_records_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text("my precious notes, not a database" * 100)
    code, stderr = call(monkeypatch, capsys, "run", "--suite", "clean", "--out", str(tmp_path))
    assert code == 2
    assert one_line(stderr, "expected a records database")
    assert (tmp_path / FILE_NAME).read_text().startswith("my precious notes")


def test_a_pickle_is_never_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    torch.save({"weights": _Trap(tmp_path / "sprung")}, tmp_path / "trap.pt")
    arguments = ["--defense", "vanilla", "--suite", "clean", "--out", str(tmp_path / "out")]
    code, stderr = call(monkeypatch, capsys, "run", "--checkpoint", str(tmp_path / "trap.pt"), *arguments)
    assert code == 2
    assert one_line(stderr, "it was not executed")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("seed", [1.5, 2**63, "0", -1, None])
def test_a_checkpoint_of_no_seed_is_refused_before_anything_is_recorded(
    seed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    checkpoints.save(tmp_path / "model.pt", {}, {"defense": "vanilla", "seed": seed})
    options = ["--checkpoint", str(tmp_path / "model.pt"), "--suite", "clean", "--out", str(tmp_path / "out")]

    code, stderr = call(monkeypatch, capsys, "run", *options)

    assert code == 2
    assert one_line(stderr, "its seed must be a whole number from 0 to 9223372036854775807, got")
    assert not (tmp_path / "out").exists()


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("command", [("report",), ("export",)])
def test_there_must_be_records_to_report(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    code, stderr = call(monkeypatch, capsys, *command, str(tmp_path))
    assert code == 2
    assert one_line(stderr, "expected records in")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.png", "out.png"], "got nothing at nowhere.png"),
        (["bad.png", "out.png"], "expected a picture, got another format"),
        (["good.png", "out.png", "--level", "1.5"], "level"),
        (["good.png", "out.png", "--nu", "-1"], "nu"),
        (["good.png", "out.xyz"], "cannot be written"),
        (["empty", "out"], "expected pictures"),
    ],
)
def test_smooth_answers_a_mistake_in_one_line(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "good.png")
    code, stderr = call(monkeypatch, capsys, "smooth", *arguments)
    assert code == 2, stderr
    assert one_line(stderr, expected), stderr
    assert not (tmp_path / "out.png").exists()
