"""Checkpoint files: weights and what they belong to, written in one step, read without executing anything."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import stat
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from harness.errors import UserError, first_line
from harness.files import replacing
from harness.models import state_dicts
from harness.models.metadata import read_metadata

FORMAT = "virolbi-harness checkpoint 1"


class Checkpoint(NamedTuple):
    """A file's content."""

    weights: dict[str, Any]
    """A state dict on the CPU."""
    metadata: dict[str, Any]
    """What our checkpoints say of themselves (backbone, defense, …), plain values; empty for others' files."""
    place: str = ""
    """Under which keys others' files hold the weights, "model.state_dict" for example."""
    others: tuple[str, ...] = ()
    """Where else they hold weights."""


def save(path: Path, weights: dict[str, torch.Tensor], metadata: dict[str, Any], **more: Any) -> None:
    """Write a checkpoint under its name in one step; `more` are further tensors and plain values."""
    content = {"format": FORMAT, "weights": weights, "about": json.dumps(metadata, sort_keys=True), **more}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
    except OSError as error:
        raise UserError(f"the checkpoint {path} cannot be written: {error.strerror}.") from error


def read(path: Path) -> dict[str, Any]:
    """The raw content of a checkpoint file, tensors on the CPU.

    Raises: UserError when it is no regular file, corrupt, or a pickle that would have to be executed to be read.
    """
    _check_regular(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of foreign pickles before it refuses them
            content = _content(path)
        if isinstance(content, dict) and content.get("format") == FORMAT:
            _check_sums(path)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"the checkpoint {path} is not a plain file of weights, or is corrupt; it was not executed. "
            "Save a state dict: torch.save(model.state_dict(), PATH)."
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise UserError(f"the checkpoint {path} is corrupt or not a checkpoint: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"expected a state dict in {path}, found a {type(content).__name__}.")
    return content


def load(path: Path) -> Checkpoint:
    """A checkpoint of ours, or the state dict in anybody's file, see `state_dicts.find`.

    Raises: UserError as `read`, for a file without weights, and for one of ours that says things that cannot be.
    """
    content = read(path)
    if content.get("format") == FORMAT:
        weights = content.get("weights")
        if not isinstance(weights, dict) or not all(map(_is_weight, weights.items())):
            raise UserError(f"expected a state dict of tensors in {path}, found other things.")
        checkpoint = Checkpoint(weights, read_metadata(content.get("about"), path))
    else:
        found = state_dicts.find(content, path)
        checkpoint = Checkpoint(found.weights, {}, found.place, found.others)
    state_dicts.check_tensors(checkpoint.weights, path)
    return checkpoint


def restore(model: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Put a checkpoint's weights into a model.

    Weights from elsewhere may be those of the undefended network, and may still be wrapped as `state_dicts.readings`
    says. They must fit as `load_state_dict` wants it.
    Raises: UserError naming what does not fit; the model is then as before.
    """
    own = bool(checkpoint.metadata)
    targets = [model] if own else [model, *_inner_networks(model)]
    readings = [checkpoint.weights] if own else list(state_dicts.readings(checkpoint.weights))
    misfits = []
    for weights in readings:
        for target in targets:
            misfit = _mismatch(target, weights) if own else None
            misfit = misfit or _put(target, weights)
            if misfit is None:
                return
            misfits.append(misfit)
    nearest = min(reversed(misfits), key=lambda misfit: misfit.names)
    raise UserError(
        f"the checkpoint {path} is of another architecture: {nearest.text}. Check --backbone and --defense."
    )


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over the names, shapes and values of a model's state."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not isinstance(value, torch.Tensor):  # what a module returns from `get_extra_state`
            digest.update(f"{name} {value!r}".encode())
            continue
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


def _check_regular(path: Path) -> None:
    """Raises: UserError for what is missing or no regular file: a pipe or a device could be read for ever."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"expected a checkpoint file, found none at {path}: {reason}.") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
        raise UserError(f"expected a checkpoint file, found none at {path}: it is {kind}.")
    if status.st_size == 0:
        raise UserError(f"expected a checkpoint file, got an empty one at {path}. Save it again.")


def _content(path: Path) -> Any:
    """What a file of PyTorch's or of safetensors' holds."""
    if Path(path).suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    with state_dicts.options_left_out():
        return torch.load(path, map_location="cpu", weights_only=True)


def _is_weight(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)


def _inner_networks(model: nn.Module) -> list[nn.Module]:
    inner = [getattr(module, "network", None) for module in model.modules()]
    return [network for network in inner if isinstance(network, nn.Module)]


class _Misfit(NamedTuple):
    """What does not fit."""

    text: str
    names: int
    """How many do not."""


def _put(model: nn.Module, weights: dict[str, Any]) -> _Misfit | None:
    """Put weights into a model as `load_state_dict` does, or say what does not fit and leave it as it was."""
    if not weights.keys() & model.state_dict().keys():  # so nothing can fit, and nothing need be tried
        return _mismatch(model, weights) or _Misfit("it has no weights", 0)
    before = copy.deepcopy(model.state_dict())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_state_dict(weights)
    except Exception as error:  # a network may be anybody's, with hooks of its own
        model.load_state_dict(before)
        return _mismatch(model, weights) or _Misfit(_after_heading(error), 0)
    return None


def _after_heading(error: Exception) -> str:
    """The reason in an error of `load_state_dict`, which begins with a heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else first_line(error)).rstrip(".:")


def _mismatch(model: nn.Module, weights: dict[str, Any]) -> _Misfit | None:
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or extra:
        return _Misfit(f"missing {_some(missing)}; not wanted {_some(extra)}", len(missing) + len(extra))
    for name, value in wanted.items():
        shape = getattr(weights[name], "shape", None)
        if isinstance(value, torch.Tensor) and shape is not None and value.shape != shape:
            return _Misfit(f"{name} expected shape {tuple(value.shape)}, got {tuple(shape)}", 0)
    return None


def _some(names: list[str]) -> str:
    shown = ", ".join(name if len(name) < 100 else f"{name[:99]}…" for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"
