"""The diagnose command: through the real command line, on a model trained in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.command_line import Completed, call, harness

from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.evaluation.runner import run
from harness.records.database import Records

QUICK = ("--limit", "6", "--steps", "2", "--restarts", "1", "--queries", "3")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    config = RunConfig(
        defenses=("blur", "vanilla"),
        suites=("clean",),
        epochs=1,
        train_limit=64,
        limit=4,
        device="cpu",
        out=folder,
    )
    run(config, ArrayCache(folder / "cache"))
    return next((folder / "checkpoints").glob("*blur*.pt"))


def diagnose(*options: object) -> Completed:
    return harness("diagnose", *options)


def test_the_checks_are_printed_written_and_drawn(trained: Path, tmp_path: Path) -> None:
    first = diagnose("--checkpoint", trained, "--out", tmp_path, *QUICK)

    assert first.returncode == 0, first.stderr
    assert "Gradient masking checks" in first.stdout
    for check in ("nothing left at large ε", "many steps ≤ one step", "there is a gradient"):
        assert check.split()[0] in first.stdout
    text = (tmp_path / "tables" / "masking.csv").read_text()
    assert text.count("pass") + text.count("FAIL") == 6
    assert "white box ≤ transfer,shapes,blur,not run,needs another network: --transfer-from" in text
    assert "not run" in first.stdout
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert pictures.keys() == {f"masking.{ending}" for ending in ("png", "pdf", "svg", "md")}

    again = diagnose("--checkpoint", trained, "--out", tmp_path, *QUICK)

    assert again.returncode == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()} == pictures
    with Records.open(tmp_path) as records:
        frame = records.frame()
    assert set(frame.defense) == {"blur"}
    assert len(frame) == 8 * 2 + 5


def test_the_preprocessing_and_the_source_may_be_chosen(trained: Path, tmp_path: Path) -> None:
    source = next(trained.parent.glob("*vanilla*.pt"))
    done = diagnose(
        *("--checkpoint", trained, "--out", tmp_path, *QUICK, "--transfer-from", source),
        *("--preprocess", "virolbi:level=0.3", "--gradient", "identity", "--epsilon", "0.1"),
    )

    assert done.returncode == 0, done.stderr
    with Records.open(tmp_path) as records:
        frame = records.frame()
    assert set(frame[frame.threat == "adaptive"].gradient) == {"identity"}
    assert set(frame[frame.preprocess != "none"].preprocess) == {"virolbi:level=0.3"}
    assert set(frame[frame.threat == "transfer"].epsilon) == {0.1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint", "nowhere.pt"], "expected a checkpoint file, found none at nowhere.pt"),
        (["--checkpoint", "TRAINED", "--epsilon", "0"], "--epsilon must be above 0 and finite"),
        (["--checkpoint", "TRAINED", "--epsilon", ""], "--epsilon expects one radius such as 8/255, got ''"),
        (["--checkpoint", "TRAINED", "--epsilon", "1/255,2/255"], "--epsilon expects one radius such as 8/255"),
        (["--checkpoint", "TRAINED", "--epsilon", "big"], "--epsilon expects numbers"),
        (["--checkpoint", "TRAINED", "--defense", "vanilla"], "is for defense blur, this run is for vanilla"),
        (["--checkpoint", "TRAINED", "--normalization", "none"], "holds its own normalisation"),
        (["--checkpoint", "TRAINED", "--limit", "0"], "--limit must be 1 or more"),
        (["--checkpoint", "TRAINED", "--gradient", "unrolled"], "gradient must be one of the preprocessor's exact"),
        (["--checkpoint", "TRAINED", "--queries", "0"], "queries must be 1 or more, got 0"),
        (["--checkpoint", "TRAINED", "--gradient", "straight"], "unknown gradient 'straight'"),
        (["--checkpoint", "TRAINED", "--dataset", "cifar10"], "cifar10 expects its files in data"),
        ([], "Missing option '--checkpoint'"),
    ],
)
def test_mistakes_are_one_line(options, message, trained: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    given = [str(trained) if option == "TRAINED" else option for option in options]
    code, stderr = call(monkeypatch, capsys, "diagnose", *given, "--out", str(tmp_path))

    assert code == 2, stderr
    assert message in " ".join(stderr.split())
    assert "Traceback" not in stderr


def test_weights_from_elsewhere_are_diagnosed_as_the_advice_says(
    trained: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    source = next(trained.parent.glob("*vanilla*.pt"))
    weights = torch.load(source, weights_only=True)["weights"]
    network = {name.removeprefix("network."): value for name, value in weights.items() if name.startswith("network.")}
    torch.save({"state_dict": network}, tmp_path / "plain.pt")
    plain = ("--checkpoint", str(tmp_path / "plain.pt"), "--out", str(tmp_path / "out"), *QUICK)

    code, stderr = call(monkeypatch, capsys, "diagnose", *plain)
    assert code == 2
    assert "Name it with --defense, vanilla for none." in stderr

    code, stderr = call(monkeypatch, capsys, "diagnose", *plain, "--defense", "vanilla", "--backbone", "resnet_mid")
    assert code == 2
    assert "Check --backbone and --defense." in stderr

    code, stderr = call(monkeypatch, capsys, "diagnose", *plain, "--defense", "vanilla", "--preprocess", "blur")
    assert code == 0, stderr
    assert "normalisation: mean (" in stderr
