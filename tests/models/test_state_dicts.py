"""Weights are found whatever training scripts wrapped them in, and must then fit as `load_state_dict` wants it."""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from harness.contracts.model import NormalizedModel
from harness.errors import UserError
from harness.models import checkpoints
from harness.models.checkpoints import weights_digest

from .test_checkpoints import model, network

WEIGHTS = network().state_dict()


def prefixed(prefix: str, weights: dict[str, Any] = WEIGHTS) -> dict[str, Any]:
    return {prefix + name: value for name, value in weights.items()}


def momentum() -> dict[str, Any]:
    """The state of an optimiser that has made a step."""
    trained = network()
    optimizer = torch.optim.SGD(trained.parameters(), 0.1, momentum=0.9)
    trained(torch.rand(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def older() -> dict[str, Any]:
    """From before batch norm counted its batches."""
    return {name: value for name, value in WEIGHTS.items() if not name.endswith("num_batches_tracked")}


BARE = {
    "plain": WEIGHTS,
    "DataParallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "both": prefixed("_orig_mod.module."),
    "both, the other way": prefixed("module._orig_mod."),
    "an attribute": prefixed("model."),
    "an attribute of any name": prefixed("backbone.encoder."),
    "an attribute, compiled, parallel": prefixed("module.net._orig_mod."),
    "averaged": AveragedModel(network()).state_dict(),
    "averaged and parallel": {"n_averaged": torch.tensor(3), **prefixed("module.module.")},
    "averaged inside": {"model.n_averaged": torch.tensor(3), **prefixed("model.module.")},
    "a part compiled": {name.replace("0.", "0._orig_mod.", 1): value for name, value in WEIGHTS.items()},
    "a part wrapped": {name.replace("3.", "3._fsdp_wrapped_module.", 1): value for name, value in WEIGHTS.items()},
    "no batches counted": older(),
    "no batches counted, parallel": prefixed("module.", older()),
    "in double precision": {name: value.double() for name, value in WEIGHTS.items()},
    "the whole model": model().state_dict(),
    "the whole model, parallel": prefixed("module.", model().state_dict()),
}
AROUND = {
    "nothing": lambda weights: weights,
    "state_dict": lambda weights: {"state_dict": weights, "epoch": 3},
    "model": lambda weights: {"model": weights, "optimizer": momentum(), "epoch": 3, "args": argparse.Namespace(lr=1)},
    "net": lambda weights: {"net": weights, "acc": np.float64(91.2), "where": Path("runs"), "rng": np.arange(3)},
    "model_state_dict": lambda weights: {"model_state_dict": weights, "optimizer_state_dict": momentum()},
    "model_ema": lambda weights: {"model_ema": weights, "loss": torch.tensor(0.1)},
    "nested": lambda weights: {"checkpoint": {"model": {"state_dict": weights}}, "config": {"lr": 0.1, "steps": [1]}},
    "another name": lambda weights: {"classifier": weights, "optim": momentum(), "best": torch.tensor(3.0)},
    "two, the usual first": lambda weights: {"model_ema": prefixed("x.", {"a": torch.ones(1)}), "model": weights},
}


@pytest.mark.parametrize("bare", BARE.values(), ids=BARE.keys())
@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())
def test_weights_are_found_in_any_wrapping(tmp_path: Path, bare: dict[str, Any], around: Any) -> None:
    target = model(seed=9)
    torch.save(around(bare), tmp_path / "foreign.pt")

    found = checkpoints.load(tmp_path / "foreign.pt")
    checkpoints.restore(target, found, tmp_path / "foreign.pt")

    wanted = model()
    wanted.network[1].num_batches_tracked = target.network[1].num_batches_tracked  # kept where the file has none
    assert found.metadata == {}
    assert weights_digest(target) == weights_digest(wanted)


@pytest.mark.parametrize("legacy", [False, True])
def test_both_of_pytorchs_formats_are_read(tmp_path: Path, legacy: bool) -> None:
    torch.save({"state_dict": WEIGHTS}, tmp_path / "old.pth", _use_new_zipfile_serialization=not legacy)
    assert checkpoints.load(tmp_path / "old.pth").place == "state_dict"


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    path, target = tmp_path / "model.safetensors", model(seed=9)
    safetensors.save_file(prefixed("module."), path)

    checkpoints.restore(target, checkpoints.load(path), path)
    assert weights_digest(target) == weights_digest(model())

    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="is corrupt or not a checkpoint"):
        checkpoints.load(path)


def test_of_two_known_names_the_first_is_taken_and_the_other_is_named(tmp_path: Path) -> None:
    torch.save({"model_ema": prefixed("module."), "model": WEIGHTS}, tmp_path / "both.pt")
    found = checkpoints.load(tmp_path / "both.pt")
    assert (found.place, found.others) == ("model", ("model_ema",))


STRICT = {
    "one missing": ({name: value for name, value in WEIGHTS.items() if name != "3.bias"}, r"missing 3\.bias"),
    "one too many": ({**WEIGHTS, "4.bias": torch.zeros(2)}, r"not wanted 4\.bias"),
    "a prefix of some": ({**prefixed("module."), "criterion.weight": torch.zeros(2)}, "not wanted"),
    "other classes": ({**prefixed("module."), "module.3.bias": torch.zeros(3)}, r"3\.bias expected shape \(2,\), got"),
    "other running statistics": (
        {name: value for name, value in WEIGHTS.items() if "running_mean" not in name},
        r"missing 1\.running_mean",
    ),
}


@pytest.mark.parametrize(("weights", "message"), STRICT.values(), ids=STRICT.keys())
def test_what_does_not_fit_is_refused_and_leaves_the_model_alone(
    tmp_path: Path, weights: dict[str, Any], message: str
) -> None:
    target = model(seed=9)
    torch.save({"model": weights}, tmp_path / "foreign.pt")

    with pytest.raises(UserError, match=f"of another architecture: .*{message}"):
        checkpoints.restore(target, checkpoints.load(tmp_path / "foreign.pt"), tmp_path / "foreign.pt")
    assert weights_digest(target) == weights_digest(model(seed=9))


def test_a_missing_count_is_as_strict_as_pytorch(tmp_path: Path) -> None:
    """A state dict of a module that counts, with the version it wrote, must have the count."""
    weights = network().state_dict()
    del weights["1.num_batches_tracked"]
    wrapped = collections.OrderedDict(prefixed("module.", weights))
    wrapped._metadata = {f"module.{name}".rstrip("."): each for name, each in weights._metadata.items()}
    for content in (weights, wrapped):
        torch.save(content, tmp_path / "foreign.pt")
        with pytest.raises(RuntimeError, match="num_batches_tracked"):
            network().load_state_dict(weights)
        with pytest.raises(UserError, match=r"missing 1\.num_batches_tracked"):
            checkpoints.restore(network(), checkpoints.load(tmp_path / "foreign.pt"), tmp_path / "foreign.pt")


def test_what_a_module_adds_to_its_state_is_kept(tmp_path: Path) -> None:
    class Extra(nn.Linear):
        scale = 1

        def get_extra_state(self) -> Any:
            return {"scale": self.scale}

        def set_extra_state(self, state: Any) -> None:
            self.scale = state["scale"]

    one, other = Extra(2, 2), Extra(2, 2)
    one.scale = 7
    torch.save(one.state_dict(), tmp_path / "extra.pt")

    before = weights_digest(other)
    checkpoints.restore(other, checkpoints.load(tmp_path / "extra.pt"), tmp_path / "extra.pt")
    assert other.scale == 7
    assert before != weights_digest(other) == weights_digest(one)


FIRST = next(iter(WEIGHTS))
ODD = {
    "sparse": (lambda: {**WEIGHTS, FIRST: WEIGHTS[FIRST].to_sparse()}, f"{FIRST} is sparse"),
    "on meta": (lambda: {**WEIGHTS, FIRST: WEIGHTS[FIRST].to("meta")}, f"{FIRST} is without its numbers"),
    "complex": (lambda: {**WEIGHTS, FIRST: WEIGHTS[FIRST].to(torch.complex64)}, f"{FIRST} is of complex numbers"),
    "quantized": (
        lambda: {**WEIGHTS, FIRST: torch.quantize_per_tensor(WEIGHTS[FIRST], 0.1, 0, torch.qint8)},
        f"{FIRST} is quantized",
    ),
    "integer keys": (lambda: dict(enumerate(WEIGHTS.values())), r"expected a state dict.*\(0, 1, 2"),
    "integer keys among others": (lambda: {**WEIGHTS, 3: torch.zeros(1)}, "expected a state dict"),
    "a number among weights": (lambda: {**WEIGHTS, "epoch": 3}, "expected a state dict"),
    "nothing": (dict, "expected a state dict"),
    "an optimiser alone": (momentum, "expected a state dict"),
    "two of unknown names": (lambda: {"student": WEIGHTS, "teacher": WEIGHTS.copy()}, "several: student, teacher"),
    "in itself": (lambda: _circular(), "expected a state dict"),
    "too deep": (lambda: _deep(40), "expected a state dict"),
}


def _circular() -> dict[str, Any]:
    content: dict[str, Any] = {"epoch": 1}
    content["model"] = content
    return content


def _deep(depth: int) -> dict[str, Any]:
    return {"model": _deep(depth - 1)} if depth else dict(WEIGHTS)


@pytest.mark.filterwarnings("ignore")  # PyTorch announces the end of its quantized tensors
@pytest.mark.parametrize(("content", "message"), ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("own", [False, True])
def test_what_no_weight_can_be_copied_from_is_refused(tmp_path: Path, content: Any, message: str, own: bool) -> None:
    made = content()
    if own and "is" not in message.split():
        message = "expected a state dict of tensors" if made else "never"
    torch.save({"format": checkpoints.FORMAT, "weights": made, "about": "{}"} if own else made, tmp_path / "odd.pt")
    if message == "never":  # of ours, a model without weights
        assert checkpoints.load(tmp_path / "odd.pt").weights == {}
        return
    with pytest.raises(UserError, match=message) as error:
        checkpoints.load(tmp_path / "odd.pt")
    assert "\n" not in str(error.value)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "link.pt").symlink_to("/dev/zero")
    answers: dict[str, str] = {}

    def ask(name: str) -> None:
        try:
            checkpoints.load(tmp_path / name)
        except UserError as error:
            answers[name] = str(error)

    expected = {
        "pipe.pt": "a pipe or device",
        "link.pt": "a pipe or device",
        ".": "a folder",
        "a\0b": "null",
        "x" * 300: "too long",
    }
    for name in expected:
        thread = threading.Thread(target=ask, args=(name,), daemon=True)
        thread.start()
        thread.join(5)
    assert all(words in answers[name] for name, words in expected.items()), answers


WRONG = {
    "seed": [1.5, "1", True, -1, 2**63, None],
    "recipe": [3, [], "x", {"epochs": "many"}, {"epochs": 2**70}, {"epochs": 0}],
    "defense": [3, None, "two\nlines"],
    "backbone": [[], 1],
    "classes": ["ten", [1, 2], None],
    "image_shape": [[3, 32], [3, 32, 32.0], "3x32x32", [3, 0, 32]],
    "kept": [1, "a\nb"],
    "images": ["all", 1e3],
    "amp": [1, "yes"],
    "altered": [0],
    "preset": [None],
    "code": ["1"],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_field_of_another_kind_is_named(tmp_path: Path, field: str, value: Any) -> None:
    checkpoints.save(tmp_path / "model.pt", {}, {"defense": "vanilla", field: value})
    with pytest.raises(UserError, match=rf"is corrupt: its {field}(\.epochs)? must be .*, got "):
        checkpoints.load(tmp_path / "model.pt")


@pytest.mark.parametrize("about", ["[" * 100_000, '{"seed": NaN}', '{"classes": ["\\ud800"]}', "{" * 10, "9" * 5000])
def test_a_text_that_is_none_of_ours_is_refused(tmp_path: Path, about: str) -> None:
    torch.save({"format": checkpoints.FORMAT, "weights": {}, "about": about}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="does not say what it belongs to; it is corrupt"):
        checkpoints.load(tmp_path / "model.pt")


def test_a_name_of_many_parts_is_not_tried_for_ever(tmp_path: Path) -> None:
    torch.save({"a." * 20_000 + "w": torch.zeros(1)}, tmp_path / "long.pt")
    with pytest.raises(UserError, match="another architecture"):
        checkpoints.restore(
            NormalizedModel(network(), (0.5,), (0.5,)), checkpoints.load(tmp_path / "long.pt"), tmp_path
        )


def test_nothing_of_what_is_left_out_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    torch.save({"model": WEIGHTS, "args": argparse.Namespace(lr=1)}, tmp_path / "foreign.pt")
    monkeypatch.setattr(argparse.Namespace, "__setattr__", lambda self, name, value: made.append(name))
    with contextlib.suppress(UserError):
        checkpoints.load(tmp_path / "foreign.pt")
    assert made == []
