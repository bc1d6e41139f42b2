"""Checkpoint files: what goes in comes out, and nothing in them is ever executed."""

from __future__ import annotations

import copy
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.contracts.model import NormalizedModel
from harness.errors import UserError
from harness.models import checkpoints
from harness.models.checkpoints import Checkpoint, weights_digest

ABOUT = {"backbone": "tiny", "defense": "vanilla", "seed": 0}


def network(width: int = 5, *, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(4 * width, 2))


def model(width: int = 5, *, seed: int = 0) -> NormalizedModel:
    return NormalizedModel(network(width, seed=seed), (0.5,), (0.25,))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "model.pt"
    checkpoints.save(path, model().state_dict(), ABOUT)
    return path


def test_a_checkpoint_comes_back_as_it_was(saved: Path) -> None:
    found = checkpoints.load(saved)

    assert same(found.weights, model().state_dict())
    assert found.metadata == ABOUT


def test_further_tensors_and_values_come_back_too(tmp_path: Path) -> None:
    path = tmp_path / "state"
    checkpoints.save(path, {}, {}, epoch=3, momentum={"a": torch.arange(3)}, rates=[0.1, 0.2])

    content = checkpoints.read(path)

    assert (content["epoch"], content["rates"]) == (3, [0.1, 0.2])
    assert torch.equal(content["momentum"]["a"], torch.arange(3))


def test_restored_weights_give_the_same_logits(saved: Path) -> None:
    other, images = model(seed=9).eval(), torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    checkpoints.restore(other, checkpoints.load(saved), saved)

    assert torch.equal(other(images), model().eval()(images))
    assert weights_digest(other) == weights_digest(model())


def test_saving_leaves_nothing_but_the_file(saved: Path) -> None:
    checkpoints.save(saved, model(seed=1).state_dict(), ABOUT)

    assert [path.name for path in saved.parent.iterdir()] == ["model.pt"]
    assert same(checkpoints.load(saved).weights, model(seed=1).state_dict())


def test_a_write_that_fails_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(UserError, match=r"model.pt cannot be written: No space left on device"):
        checkpoints.save(saved, model(seed=1).state_dict(), ABOUT)
    assert [path.name for path in saved.parent.iterdir()] == ["model.pt"]
    assert same(checkpoints.load(saved).weights, model().state_dict())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r"file/model.pt cannot be written"):
        checkpoints.save(tmp_path / "file" / "model.pt", {}, {})


@pytest.mark.parametrize("path", ["nowhere.pt", "."])
def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match="expected a checkpoint file, found none at"):
        checkpoints.load(tmp_path / path)


def _flip_a_weight(content: bytes) -> bytes:
    """Change one bit inside the stored numbers, which leaves the archive readable."""
    weights = model().state_dict()["network.0.weight"].numpy().tobytes()
    place = content.index(weights) + len(weights) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "one byte": lambda content: b"P",
    "truncated": lambda content: content[: len(content) // 2],
    "last byte missing": lambda content: content[:-1],
    "text": lambda content: b"hello, I am a text file\n",
    "zeros": lambda content: bytes(len(content)),
    "a flipped bit": _flip_a_weight,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_corrupt_file_is_refused_in_one_line(saved: Path, damage: Callable[[bytes], bytes]) -> None:
    saved.write_bytes(damage(saved.read_bytes()))

    with pytest.raises(UserError, match="corrupt") as error:
        checkpoints.load(saved)
    assert str(saved) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_damage_anywhere_in_the_file_escapes_as_another_error(saved: Path) -> None:
    original, rng = saved.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(original), 150):
        content = bytearray(original)
        content[place] ^= int(rng.integers(1, 256))
        saved.write_bytes(content)
        try:
            found = checkpoints.load(saved)
        except UserError:
            continue
        assert same(found.weights, model().state_dict())
        assert found.metadata == ABOUT


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("place", ["alone", "among weights", "in our format", "plain pickle"])
def test_a_pickle_is_refused_and_never_executed(tmp_path: Path, place: str) -> None:
    path, trap = tmp_path / "model.pt", tmp_path / "trap"
    content = {
        "alone": Malicious(trap),
        "among weights": {**model().state_dict(), "network.0.bias": Malicious(trap)},
        "in our format": {"format": checkpoints.FORMAT, "weights": Malicious(trap), "about": "{}"},
        "plain pickle": {"x": Malicious(trap)},
    }[place]
    if place == "plain pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)

    with pytest.raises(UserError, match="it was not executed"):
        checkpoints.load(path)
    assert not trap.exists()


def test_a_whole_model_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save(model(), tmp_path / "model.pt")

    with pytest.raises(UserError, match=r"torch.save\(model.state_dict\(\), PATH\)"):
        checkpoints.load(tmp_path / "model.pt")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "text", {"epoch": 3}, {"state_dict": [1]}])
def test_a_file_of_other_things_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "model.pt")

    with pytest.raises(UserError, match="expected a state dict"):
        checkpoints.load(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"weights": None},
        {"weights": {"a": 1}},
        {"about": None},
        {"about": "not JSON"},
        {"about": 3},
        {"about": "[]"},
    ],
)
def test_our_format_with_other_things_inside_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    content = {"format": checkpoints.FORMAT, "weights": {}, "about": json.dumps(ABOUT), **change}
    content = {key: value for key, value in content.items() if value is not None}
    torch.save(content, tmp_path / "model.pt")

    with pytest.raises(UserError, match=r"corrupt|expected a state dict"):
        checkpoints.load(tmp_path / "model.pt")


@pytest.mark.parametrize("wrap", [lambda weights: weights, lambda weights: {"state_dict": weights, "epoch": 90}])
@pytest.mark.parametrize("inner", [False, True])
def test_a_bare_state_dict_fits_the_whole_model_or_its_network(
    tmp_path: Path, wrap: Callable[[Any], Any], inner: bool
) -> None:
    path, target = tmp_path / "foreign.pt", model(seed=9)
    torch.save(wrap((network() if inner else model()).state_dict()), path)

    found = checkpoints.load(path)
    checkpoints.restore(target, found, path)

    assert found.metadata == {}
    assert weights_digest(target) == weights_digest(model())


def test_our_own_checkpoint_must_fit_the_whole_model(tmp_path: Path) -> None:
    foreign = Checkpoint(network().state_dict(), ABOUT)

    with pytest.raises(UserError, match="another architecture"):
        checkpoints.restore(model(), foreign, tmp_path / "model.pt")


def test_another_width_is_named_with_both_shapes(saved: Path) -> None:
    with pytest.raises(UserError) as error:
        checkpoints.restore(model(width=6), checkpoints.load(saved), saved)

    assert "network.0.weight expected shape (6, 1, 3, 3), got (5, 1, 3, 3)" in str(error.value)
    assert str(saved) in str(error.value)
    assert "--backbone" in str(error.value)


def test_missing_and_unwanted_weights_are_named(saved: Path) -> None:
    found = checkpoints.load(saved)
    weights = {**found.weights, "extra.a": torch.zeros(1), "network.3.bias2": torch.zeros(1)}
    del weights["network.3.bias"]

    with pytest.raises(UserError, match=r"missing network.3.bias; not wanted extra.a, network.3.bias2\."):
        checkpoints.restore(model(), Checkpoint(weights, ABOUT), saved)


def test_of_many_missing_weights_some_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing [\w.]+, [\w.]+, [\w.]+ and \d+ more; not wanted nothing"):
        checkpoints.restore(model(), Checkpoint({}, ABOUT), tmp_path)


def test_weights_that_do_not_fit_leave_the_model_as_it_was(saved: Path) -> None:
    target = model(width=6)
    before = copy.deepcopy(target.state_dict())

    with pytest.raises(UserError):
        checkpoints.restore(target, checkpoints.load(saved), saved)

    assert same(target.state_dict(), before)


def test_a_digest_follows_every_weight_and_its_name() -> None:
    first = model()
    digests = {weights_digest(first)}
    for name in first.state_dict():
        other = model()
        other.state_dict()[name].view(-1)[0] += 1
        digests.add(weights_digest(other))

    assert len(digests) == 1 + len(first.state_dict())
    assert weights_digest(first) == weights_digest(model())
    assert weights_digest(first.network) not in digests


def test_a_digest_does_not_depend_on_the_memory_layout() -> None:
    turned = model().to(memory_format=torch.channels_last)

    assert weights_digest(turned) == weights_digest(model())


def test_a_checkpoint_is_an_ordinary_archive_of_pytorch(saved: Path) -> None:
    """So that others can read it: torch.load(path, weights_only=True)["weights"] is a state dict."""
    content = torch.load(saved, weights_only=True)

    model(seed=9).load_state_dict(content["weights"])
    assert zipfile.is_zipfile(saved)


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    with pytest.raises(UserError, match=r"got an empty one at .*empty\.pt"):
        checkpoints.load(tmp_path / "empty.pt")
