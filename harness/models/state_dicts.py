"""State dicts as training scripts save them: found in what a file holds, and freed of what they were wrapped in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch

from harness.errors import UserError

NAMES = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module"),
    *("model_ema", "state_dict_ema", "ema_state_dict", "ema_model", "ema", "params_ema"),
)
"""What training scripts save the weights under; those of them that come first win."""
WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What DataParallel, torch.compile, FSDP and activation checkpointing put into names, at any place."""
AVERAGED = "n_averaged"
"""What torch.optim.swa_utils.AveragedModel counts, beside its `module.`"""
DEPTH = 6
"""How deep a state dict may lie, and how much all names may begin with."""

Weights = dict[str, Any]


class _LeftOut:
    """Stands in a file's content for what is no weight; nothing of the thing itself is made."""

    def __new__(cls, *_: Any) -> _LeftOut:
        """Whatever the thing would be made from."""
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        """Whatever it would hold."""


_OPTIONS = [
    type(name, (_LeftOut,), {"__module__": module, "__qualname__": name})
    for module, name in (
        *(("argparse", "Namespace"), ("numpy", "dtype"), ("numpy", "ndarray")),
        *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
        *((f"pathlib{local}", f"{kind}Path") for local in ("", "._local") for kind in ("Posix", "Windows")),
    )
]
"""What training scripts save beside the weights and PyTorch does not read without executing: options, accuracies."""


def options_left_out() -> AbstractContextManager[Any]:
    """Within the block `torch.load(weights_only=True)` leaves out what `_OPTIONS` lists; PyTorch 2.4 refuses it."""
    allowed = getattr(torch.serialization, "safe_globals", None)
    return nullcontext() if allowed is None else allowed(_OPTIONS)


class Found(NamedTuple):
    """A state dict in a file."""

    weights: Weights
    place: str
    """The keys that lead to it, joined by dots; "" where it is the file's whole content."""
    others: tuple[str, ...] = ()
    """The places of further state dicts beside it."""


def find(content: Mapping[Any, Any], path: object) -> Found:
    """The state dict in a file's content. Raises: UserError where there is none, or nothing says which one is meant."""
    found = _all_in(content, "", DEPTH, set())
    named = sorted((each for each in found if _rank(each.place) is not None), key=lambda each: _rank(each.place) or 0)
    if not found:
        raise UserError(f"expected a state dict of tensors in {path}, found other things{_keys(content)}.")
    if len(found) > 1 and not named:
        places = ", ".join(each.place for each in found[:5])
        raise UserError(f"expected one state dict in {path}, found several: {places}. Save the one you mean alone.")
    taken = (named or found)[0]
    return taken._replace(others=tuple(each.place for each in named if each is not taken))


def check_tensors(weights: Mapping[str, Any], path: object) -> None:
    """Raises: UserError naming a tensor that no ordinary weight can be copied from."""
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor):
            continue
        fault = (
            "quantized"
            if value.is_quantized
            else "without its numbers (on the device meta)"
            if value.is_meta
            else "sparse or nested"
            if value.layout is not torch.strided or value.is_nested
            else "of complex numbers"
            if value.is_complex()
            else None
        )
        if fault is not None:
            raise UserError(
                f"the weights in {path} must be plain tensors of real numbers, {name} is {fault}. "
                "Convert them before they are saved."
            )


def readings(weights: Weights) -> Iterator[Weights]:
    """The weights as they are, then without wrappers' names, then without what all names begin with."""
    seen: set[frozenset[str]] = set()
    rest = {name: value for name, value in weights.items() if name.rpartition(".")[2] != AVERAGED}
    bare = _renamed(weights, rest, lambda parts: [part for part in parts if part not in WRAPPERS])
    for start in (weights, _renamed(weights, rest, lambda parts: parts), bare):
        reading: Weights | None = start
        for _ in range(DEPTH):
            if not reading or (names := frozenset(reading)) in seen:
                break
            seen.add(names)
            yield reading
            alike = len({name.partition(".")[0] for name in reading}) == 1 and all("." in name for name in reading)
            reading = _renamed(reading, reading, lambda parts: parts[1:]) if alike else None


def _renamed(original: Weights, kept: Weights, rename: Callable[[list[str]], list[str]]) -> Weights | None:
    """Weights under other names, with the versions that PyTorch keeps of their modules; None where names collide."""

    def new(name: str) -> str:
        return ".".join(rename(name.split(".")))

    renamed: Weights = OrderedDict((new(name), value) for name, value in kept.items())
    versions = getattr(original, "_metadata", None)
    if isinstance(versions, dict) and all(isinstance(name, str) for name in versions):
        renamed._metadata = {new(name): version for name, version in versions.items()}  # type: ignore[attr-defined]
    return renamed if len(renamed) == len(kept) else None


def _all_in(content: Any, place: str, depth: int, seen: set[int]) -> list[Found]:
    """Every state dict in nested dicts, but for an optimiser's."""
    if not isinstance(content, Mapping) or id(content) in seen or depth == 0:
        return []
    seen.add(id(content))
    if _is_state_dict(content):
        return [Found(dict(content) if type(content) is not OrderedDict else content, place)]
    inner = [(key, value) for key, value in content.items() if isinstance(key, str) and "optim" not in key]
    return [
        each for key, value in inner for each in _all_in(value, f"{place}.{key}" if place else key, depth - 1, seen)
    ]


def _is_state_dict(content: Mapping[Any, Any]) -> bool:
    """Whether these are tensors by name, and what modules add to them in `get_extra_state`."""
    return (
        all(isinstance(name, str) for name in content)
        and any(isinstance(value, torch.Tensor) for value in content.values())
        and all(
            isinstance(value, torch.Tensor) or name.rpartition(".")[2] == "_extra_state"
            for name, value in content.items()
        )
    )


def _rank(place: str) -> int | None:
    """Where the names that lead to a state dict come in `NAMES`; None for others."""
    ranks = [NAMES.index(part) if part in NAMES else None for part in place.split(".")] if place else [0]
    return None if None in ranks else max(rank for rank in ranks if rank is not None)


def _keys(content: Mapping[Any, Any]) -> str:
    names = ", ".join(repr(key)[:30] for key in list(content)[:5])
    return f" ({names}{', …' if len(content) > 5 else ''})" if names else ""
