"""The command train: what fails a training, and what is refused before one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.command_line import call, one_line
from torch import nn

from harness.contracts.defense import Defense
from harness.errors import UserError
from harness.registry import backbones, defenses


class Stop(BaseException):
    """What no `except Exception` catches."""


def fails_in(place: str, error: BaseException) -> type[Defense]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return type("Failing", (Defense,), {place: fail})


ERRORS = (ValueError("no luck"), UserError("no luck"), SystemExit(0), Stop("no luck"))


@pytest.mark.parametrize(
    ("command", "error", "place"),
    [
        *(("train", error, "loss") for error in ERRORS),
        *(("train", UserError("no luck"), place) for place in ("training_images", "reseed")),
        ("run", UserError("no luck"), "training_images"),
        ("run", SystemExit(0), "loss"),
    ],
)
def test_a_training_that_fails_is_named_and_the_others_go_on(
    command: str, error: BaseException, place: str, tmp_path: Path, register, monkeypatch, capsys
) -> None:
    register(defenses, "failing", fails_in(place, error))
    options = ["--suite", "clean", "--limit", "4"] if command == "run" else []
    names = ["--defense", "failing,vanilla", "--epochs", "1", "--train-limit", "16", "--out", str(tmp_path)]

    code, stderr = call(monkeypatch, capsys, command, *names, *options)

    line = next(line for line in stderr.splitlines() if line.startswith("failed: failing"))
    assert code == 1, stderr
    assert "Traceback" not in stderr
    assert isinstance(error, SystemExit) or "no luck" in line
    assert [path.name.split("-")[1] for path in (tmp_path / "checkpoints").glob("*.pt")] == ["vanilla"]


@pytest.mark.parametrize("command", ["train", "run"])
def test_what_a_network_may_not_return_is_refused_before_it_is_trained(
    command: str, tmp_path: Path, register, monkeypatch, capsys
) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 10)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = images.mean((2, 3))
            return self.head(features), features

    register(backbones, "two", lambda *, classes, image_shape: Two())
    code, stderr = call(
        monkeypatch, capsys, command, "--defense", "vanilla", "--backbone", "two", "--out", str(tmp_path)
    )

    assert code == 2
    assert one_line(stderr, "expected the model to return logits alone.*got a tuple of 2")
    assert not (tmp_path / "checkpoints").exists()
