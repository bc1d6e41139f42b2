"""Checkpoint files: weights and what they belong to, written in one step, read without executing anything."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from harness.errors import UserError

FORMAT = "virolbi-harness checkpoint 1"


class Checkpoint(NamedTuple):
    """A file's content."""

    weights: dict[str, torch.Tensor]
    """A state dict on the CPU."""
    metadata: dict[str, Any]
    """What our checkpoints say of themselves (backbone, defense, …), plain values; empty for others' files."""


def save(path: Path, weights: dict[str, torch.Tensor], metadata: dict[str, Any], **more: Any) -> None:
    """Write a checkpoint under its name in one step; `more` are further tensors and plain values."""
    content = {"format": FORMAT, "weights": weights, "about": json.dumps(metadata, sort_keys=True), **more}
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(f"the checkpoint {path} cannot be written: {error.strerror}.") from error


def read(path: Path) -> dict[str, Any]:
    """The raw content of a checkpoint file, tensors on the CPU.

    Raises: UserError when it is missing, corrupt, or a pickle that would have to be executed to be read.
    """
    if not Path(path).is_file():
        raise UserError(f"expected a checkpoint file, found none at {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of foreign pickles before it refuses them
            content = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(content, dict) and content.get("format") == FORMAT:
            _check_sums(path)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"the checkpoint {path} is not a plain file of weights, or is corrupt; it was not executed. "
            "Save a state dict: torch.save(model.state_dict(), PATH)."
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged archive
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"the checkpoint {path} is corrupt or not a checkpoint: {reason}") from error
    if not isinstance(content, dict):
        raise UserError(f"expected a state dict in {path}, found a {type(content).__name__}.")
    return content


def load(path: Path) -> Checkpoint:
    """A checkpoint of ours, or a bare state dict of anybody's ({"state_dict": …} is unwrapped)."""
    content = read(path)
    own = content.get("format") == FORMAT
    weights = content.get("weights" if own else "state_dict", None if own else content)
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"expected a state dict of tensors in {path}, found other things.")
    return Checkpoint(weights, _metadata(content, path) if own else {})


def restore(model: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Put a checkpoint's weights into a model.

    A bare state dict may be that of the undefended network: where it does not fit the model, it is put into that.
    Raises: UserError naming what does not fit.
    """
    targets = [model] if checkpoint.metadata else [model, *_inner_networks(model)]
    problems = [_mismatch(target, checkpoint.weights) for target in targets]
    for target, problem in zip(targets, problems, strict=True):
        if problem is None:
            target.load_state_dict(checkpoint.weights)
            return
    raise UserError(
        f"the checkpoint {path} is of another architecture: {problems[-1]}. Check --backbone and --defense."
    )


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over the names, shapes and values of a model's state."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_sums(path: Path) -> None:
    """Compare the archive's checksums, which PyTorch's reader does not. Raises: ValueError when one does not fit."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} does not fit.")


def _metadata(content: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(content["about"])
    except (KeyError, TypeError, ValueError):
        metadata = None
    if not isinstance(metadata, dict):
        raise UserError(f"the checkpoint {path} does not say what it belongs to; it is corrupt.")
    return metadata


def _inner_networks(model: nn.Module) -> list[nn.Module]:
    inner = [getattr(module, "network", None) for module in model.modules()]
    return [network for network in inner if isinstance(network, nn.Module)]


def _mismatch(model: nn.Module, weights: dict[str, torch.Tensor]) -> str | None:
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or extra:
        return f"missing {_some(missing)}; not wanted {_some(extra)}"
    for name, value in wanted.items():
        if value.shape != weights[name].shape:
            return f"{name} expected shape {tuple(value.shape)}, got {tuple(weights[name].shape)}"
    return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"
