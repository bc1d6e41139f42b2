"""Files of weights that nobody meant: each is read or refused in one line, and none for long."""

from __future__ import annotations

import copy
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors
from torch import nn

from harness.errors import UserError
from harness.models import checkpoints

from .test_checkpoints import ABOUT, model, network

ROUNDS = 1000
SECONDS = 8
LONGEST = 5
"""Seconds that a single file may take."""

FULL = {
    **ABOUT,
    "classes": ["a", "b"],
    "image_shape": [1, 4, 4],
    "recipe": {"epochs": 3},
    "amp": False,
    "images": 4,
    "dataset": "tiny",
    "kept": "level=0.6",
    "code": {},
}
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 3, 2**31, 2**63, 2**70, 1.5, float("nan"), float("inf"), "", "x", "\n", "\0", "é" * 300),
    *([], {}, [[]], {"a": 1}, (1, 2), {0: torch.ones(2)}, {"a": torch.ones(2)}, b"bytes", torch.Size([2])),
    *(torch.tensor(1), torch.ones(0), torch.ones(2, 2).to_sparse(), torch.ones(2, device="meta"), torch.ones(1).bool()),
    *(torch.zeros(1, dtype=torch.complex64), torch.ones(1).expand(10**9), torch.ones(3).bfloat16(), torch.float32),
    *(torch.full((5, 1, 3, 3), torch.nan), np.float64(1), np.arange(3), Path("x")),
)
KEYS: tuple[Any, ...] = (
    *(0, -1, True, None, 1.5, "", ".", "a", "a." * 50, "module.", "format", "weights", "about", "state_dict", "model"),
    *("_extra_state", "n_averaged", "0.weight", "\0", "é", b"b", (1, 2), "_metadata", "optimizer"),
)


def _contents(rng: np.random.Generator) -> Any:
    """What a good file holds, ours or another's."""
    weights = (model() if rng.random() < 0.5 else network()).state_dict()
    if rng.random() < 0.5:
        return {"format": checkpoints.FORMAT, "weights": dict(weights), "about": json.dumps(_changed(rng, FULL))}
    return weights if rng.random() < 0.5 else {"state_dict": weights, "epoch": 3}


def _changed(rng: np.random.Generator, table: dict[str, Any]) -> dict[str, Any]:
    """A table with some fields of another kind, plain values only."""
    plain = [value for value in VALUES if isinstance(value, None | bool | int | float | str | list)]
    table = copy.deepcopy(table)
    for name in rng.choice(sorted(table), rng.integers(0, 3)):
        table[name] = plain[rng.integers(len(plain))]
    return table


def _spoiled(rng: np.random.Generator, content: Any, depth: int = 0) -> Any:
    """The content with something in it removed, renamed or replaced, at any depth."""
    if not isinstance(content, dict) or not content or (depth and rng.random() < 0.2):
        return VALUES[rng.integers(len(VALUES))]
    changed, names = dict(content), list(content)
    name = names[rng.integers(len(names))]
    match rng.integers(4):
        case 0:
            del changed[name]
        case 1:
            changed[KEYS[rng.integers(len(KEYS))]] = changed.pop(name)
        case 2:
            changed[KEYS[rng.integers(len(KEYS))]] = VALUES[rng.integers(len(VALUES))]
        case _:
            changed[name] = _spoiled(rng, changed[name], depth + 1)
    return changed


def _bytes(rng: np.random.Generator) -> bytes:
    content = _contents(rng)
    for _ in range(rng.integers(0, 4)):
        content = _spoiled(rng, content)
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=bool(rng.random() < 0.7))
    return _damaged(rng, file.getvalue()) if rng.random() < 0.4 else file.getvalue()


def _damaged(rng: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    match rng.integers(3):
        case 0:
            del changed[rng.integers(len(changed)) :]
        case 1:
            for place in rng.integers(0, len(changed), 3):
                changed[place] = rng.integers(256)
        case _:
            start = int(rng.integers(len(changed)))
            changed[start:start] = rng.bytes(int(rng.integers(1, 50)))
    return bytes(changed)


def _safetensors(rng: np.random.Generator) -> bytes:
    content = to_safetensors({name: value.contiguous() for name, value in network().state_dict().items()})
    return _damaged(rng, content) if rng.random() < 0.8 else content


def _outcome(path: Path, target: nn.Module) -> str:
    """“read”, or why not."""
    try:
        checkpoints.restore(target, checkpoints.load(path), path)
        checkpoints.weights_digest(target)
    except UserError as error:
        return str(error)
    return "read"


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of what the fuzz makes
@pytest.mark.parametrize(("make", "name"), [(_bytes, "fuzz.pt"), (_safetensors, "fuzz.safetensors")])
def test_any_file_is_read_or_refused_in_one_line(
    tmp_path: Path, make: Callable[[np.random.Generator], bytes], name: str
) -> None:
    path, target, begun, outcomes = tmp_path / name, model(), time.monotonic(), []
    for seed in range(ROUNDS if name.endswith(".pt") else ROUNDS // 10):
        path.write_bytes(make(np.random.default_rng(seed)))
        start = time.monotonic()
        outcomes.append(_outcome(path, target))
        assert time.monotonic() - start < LONGEST, seed
        assert "\n" not in outcomes[-1], seed
        assert len(outcomes[-1]) < 1000, seed
        if time.monotonic() - begun > SECONDS:  # on a slow machine fewer files are tried
            break
    assert 5 < outcomes.count("read") < len(outcomes) - 5
