"""What a checkpoint of ours says of itself: read, and each field checked for what it may hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from harness.errors import UserError

LARGEST = 2**63 - 1
"""The largest number that records can hold."""


def _whole(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value <= LARGEST


def _text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


_NAMES = (lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value), "a list of names")
_NAME = (lambda value: isinstance(value, str), "a name")
_TABLE = (lambda value: isinstance(value, dict), "a table")
_TEXT = (_text, "a text of one line")
_NUMBER = (_whole, f"a whole number from 0 to {LARGEST}")
_SWITCH = (lambda value: isinstance(value, bool), "true or false")
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("defense", "backbone", "preset", "kept", "data"), _TEXT),
    **dict.fromkeys(("seed", "epoch", "images"), _NUMBER),
    **dict.fromkeys(("amp", "altered"), _SWITCH),
    **dict.fromkeys(("recipe", "code"), _TABLE),
    "dataset": _NAME,
    "classes": _NAMES,
    "image_shape": (
        lambda value: isinstance(value, list) and len(value) == 3 and all(_whole(side, 1) for side in value),
        "three whole numbers, channels, height and width",
    ),
}
"""By field, what it may hold, in code and in words."""


def read_metadata(about: Any, path: object) -> dict[str, Any]:
    """What a checkpoint says of itself, from its text.

    Raises: UserError for a text that is none of ours, and for a field that holds another kind of thing.
    """
    try:
        metadata = json.loads(about, parse_constant=_refuse)
        json.dumps(metadata, ensure_ascii=False).encode()  # a lone surrogate can be neither printed nor recorded
    except (TypeError, ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise UserError(f"the checkpoint {path} does not say what it belongs to; it is corrupt.")
    wrong = _first_wrong(metadata)
    if wrong is not None:
        name, expected, value = wrong
        raise UserError(
            f"the checkpoint {path} is corrupt: its {name} must be {expected}, got {json.dumps(value)[:60]}."
        )
    return metadata


def _first_wrong(metadata: dict[str, Any]) -> tuple[str, str, Any] | None:
    """The first field that holds another kind of thing: its name, what it must be, what it is."""
    for name, (right, expected) in _FIELDS.items():
        if name in metadata and not right(metadata[name]):
            return name, expected, metadata[name]
    epochs = metadata.get("recipe", {}).get("epochs", 1)
    return None if _whole(epochs, 1) else ("recipe.epochs", "a whole number above 0", epochs)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
