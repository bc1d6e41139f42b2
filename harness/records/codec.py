"""Between the schema's objects and the JSON text they are kept as; every value is checked against its field's type."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.errors import HarnessError
from harness.files import from_json


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


Kind = TypeVar("Kind", bound=_Dataclass)
Check = Callable[[Any], bool]


def plain(value: _Dataclass) -> dict[str, Any]:
    """The fields of an object by name, its mappings and tuples as they are."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def encode(value: _Dataclass) -> str:
    """JSON text of an object's fields. Raises: HarnessError for a value of another type than its field's."""
    values = plain(value)
    for name, fits in _fields(type(value)).items():
        if not fits(values[name]):
            raise HarnessError(f"{type(value).__name__}.{name} cannot hold {values[name]!r}.")
    return json.dumps(values, sort_keys=True)


def decode(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """An object from the values of its fields, those with a default may be missing.

    Raises: ValueError for an unknown field, a missing one, and a value of another type than its field's.
    """
    fields = _fields(kind)
    for name, value in values.items():
        if name not in fields:
            raise ValueError(f"no cell has a field {name!r}")
        if not fields[name](value):
            raise ValueError(f"a cell with {name} {value!r}")
    for name in required(kind):
        if name not in values:
            raise ValueError(f"a cell without {name}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@functools.cache
def required(kind: type[_Dataclass]) -> tuple[str, ...]:
    """The fields without a default."""
    missing = dataclasses.MISSING
    return tuple(
        field.name
        for field in dataclasses.fields(kind)
        if field.default is missing and field.default_factory is missing
    )


def json_object(text: str) -> dict[str, Any]:
    """A JSON object. Raises: ValueError for anything else."""
    if not isinstance(text, str):
        raise ValueError(f"expected text, found {type(text).__name__}")
    text.encode()  # raises UnicodeEncodeError, a ValueError, for bytes that are no text
    value = from_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {text[:20]}")
    return _printable(value) if "\\ud" in text.lower() else value


def _printable(value: Any) -> Any:
    """A JSON value whose texts can be written to files: half a character, as in a name that is no UTF-8, as \\udc80."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, list):
        return list(map(_printable, value))
    return {_printable(key): _printable(each) for key, each in value.items()} if isinstance(value, dict) else value


@functools.cache
def _fields(kind: type[_Dataclass]) -> dict[str, Check]:
    """By field, whether a value from JSON is of its type."""
    hints = get_type_hints(kind)
    return {field.name: _check_of(hints[field.name]) for field in dataclasses.fields(kind)}


def _check_of(hint: Any) -> Check:
    """Whether a value from JSON is of a type: a scalar, a union, a literal, a mapping from text or a tuple of one."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: True
    if origin is Literal:
        return lambda value: value in arguments
    if origin in (Union, types.UnionType):
        several = [_check_of(each) for each in arguments]
        return lambda value: any(check(value) for check in several)
    if origin is tuple:
        item = _check_of(arguments[0])
        return lambda value: isinstance(value, list | tuple) and all(map(item, value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        entry = _check_of(arguments[1])
        return lambda value: isinstance(value, Mapping) and all(map(entry, value.values()))
    if hint in (int, float):  # JSON's true is no number, and a whole number may stand for any other
        kinds = (int, float) if hint is float else int
        return lambda value: isinstance(value, kinds) and not isinstance(value, bool)
    return lambda value: isinstance(value, hint)
