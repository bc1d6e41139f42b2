"""Names with parameters: `virolbi_fixed:nu=16,level=0.5`, `parquet:DIR`, `timm:resnet18,pretrained=true`."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin

from harness.errors import UserError

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
_UNIONS = (typing.Union, types.UnionType)


class Spec(NamedTuple):
    """A name with parameters, as text."""

    name: str
    positional: str | None
    """What follows the colon without a key, at most one."""
    parameters: dict[str, str]
    """The `key=value` texts by key."""

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Split `name:positional,key=value,…`; the positional text, such as a path, may hold commas.

        >>> Spec.parse("parquet:a,b,name=x")
        Spec(name='parquet', positional='a,b', parameters={'name': 'x'})
        """
        name, colon, rest = text.strip().partition(":")
        if not name or (colon and not rest):
            raise UserError(f"expected NAME or NAME:key=value,…, got {text!r}.")
        positional: list[str] = []
        parameters: dict[str, str] = {}
        for part in rest.split(",") if rest else []:
            assignment = _ASSIGNMENT.fullmatch(part)
            if assignment is None and not parameters:
                positional.append(part)
            elif assignment is None:
                raise UserError(f"expected key=value after a comma in {text!r}, got {part!r}.")
            elif assignment[1] in parameters:
                raise UserError(f"{assignment[1]!r} is given twice in {text!r}.")
            else:
                parameters[assignment[1]] = assignment[2]
        return cls(name, ",".join(positional) if positional else None, parameters)


class Bound(NamedTuple):
    """Keyword arguments for a factory, and the label that tables show."""

    arguments: dict[str, Any]
    label: str


def split_list(text: str) -> list[str]:
    """Split `A,B:x=1,y=2,C` into specs: an item `key=value` belongs to the name before it.

    >>> split_list("vanilla,virolbi_fixed:nu=16,level=0.5,blur")
    ['vanilla', 'virolbi_fixed:nu=16,level=0.5', 'blur']
    """
    items: list[str] = []
    for part in filter(None, map(str.strip, text.split(","))):
        continues = items and ":" in items[-1] and _ASSIGNMENT.fullmatch(part)
        if continues:
            items[-1] += f",{part}"
        else:
            items.append(part)
    return items


def bind(
    kind: str,
    spec: Spec,
    factory: Callable[..., Any],
    provided: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Bound:
    """Turn a spec's texts into typed keyword arguments of `factory`; `defaults` fill in what the spec leaves open.

    Raises: UserError that names the right parameters.
    """
    settable = parameters_of(factory, provided)
    texts = dict(spec.parameters)
    if spec.positional is not None:
        key = _positional_name(kind, spec, settable)
        if key in texts:
            raise UserError(f"{key!r} of the {kind} {spec.name!r} is given twice: by place and as {key}={texts[key]}.")
        texts = {key: spec.positional, **texts}
    for key in texts:
        if key not in settable:
            known = ", ".join(settable) or "none"
            raise UserError(f"the {kind} {spec.name!r} has no parameter {key!r}. Its parameters: {known}.")
    arguments = {key: value for key, value in (defaults or {}).items() if key in settable}
    arguments |= {key: _convert(kind, spec.name, key, text, settable[key].annotation) for key, text in texts.items()}
    for key, parameter in settable.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise UserError(f"the {kind} {spec.name!r} needs {key!r}: write {spec.name}:{key}=… .")
    return Bound(arguments, _label(spec.name, arguments, settable))


def parameters_of(factory: Callable[..., Any], provided: Sequence[str] = ()) -> dict[str, inspect.Parameter]:
    """The parameters that a user may set: those annotated as int, float, bool, str, or tuples and optionals of these.

    The harness fills in the others, and those in `provided`. Raises: UserError for an annotation that names something
    unknown.
    """
    settable = {}
    hints = _hints(factory)
    for name, parameter in inspect.signature(factory).parameters.items():
        if name in provided or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if name in hints and _scalar_types(hints[name]):
            settable[name] = parameter.replace(annotation=hints[name])
    return settable


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    target = factory.func if isinstance(factory, functools.partial) else factory
    if inspect.isclass(target):
        target = target.__init__
    elif not inspect.isroutine(target):
        target = type(target).__call__
    try:
        return typing.get_type_hints(target)
    except NameError as error:
        raise UserError(
            f"the parameters of {getattr(factory, '__qualname__', factory)} cannot be read: {error}. Import what its "
            "annotations name at run time, not only for type checking."
        ) from error


def _scalar_types(hint: Any) -> tuple[type, ...]:
    """The plain types that a text may become under this annotation; empty where no text can set it."""
    if get_origin(hint) in _UNIONS:
        return tuple(kind for part in get_args(hint) for kind in _scalar_types(part))
    if get_origin(hint) is typing.Literal:
        return (str,)
    if get_origin(hint) is tuple:
        return _scalar_types(get_args(hint)[0])
    return (hint,) if hint in (int, float, bool, str) else ()


def _positional_name(kind: str, spec: Spec, settable: dict[str, inspect.Parameter]) -> str:
    required = [name for name, parameter in settable.items() if parameter.default is parameter.empty]
    if not required:
        known = ", ".join(settable) or "none"
        raise UserError(f"the {kind} {spec.name!r} takes key=value parameters only ({known}), got {spec.positional!r}.")
    return required[0]


def _convert(kind: str, name: str, key: str, text: str, hint: Any) -> Any:
    if get_origin(hint) in _UNIONS:
        parts = [part for part in get_args(hint) if _scalar_types(part)]
        if len(parts) == 1:
            return _convert(kind, name, key, text, parts[0])
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return tuple(_convert(kind, name, key, part, inner) for part in text.split("/"))
    if get_origin(hint) is typing.Literal:
        if text in get_args(hint):
            return text
        raise UserError(f"{kind} {name!r}: {key} must be one of {', '.join(get_args(hint))}, got {text!r}.")
    for target in _scalar_types(hint):
        try:
            return _parse(target, text)
        except ValueError:
            continue
    expected = " or ".join(target.__name__ for target in _scalar_types(hint))
    raise UserError(f"{kind} {name!r}: {key} must be of type {expected}, got {text!r}.")


def _parse(target: type, text: str) -> Any:
    if target is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ValueError(text)
    return target(text)


def _label(name: str, arguments: Mapping[str, Any], settable: Mapping[str, inspect.Parameter]) -> str:
    texts = {
        key: show_value(arguments[key])
        for key, parameter in settable.items()
        if key in arguments and arguments[key] != parameter.default
    }
    # The label must name the same thing again, and only a positional text, which stands first, may hold a comma.
    positional = [text for text in texts.values() if "," in text]
    parts = positional + [f"{key}={text}" for key, text in texts.items() if "," not in text]
    return f"{name}:{','.join(parts)}" if parts else name


def show_value(value: Any) -> str:
    """A parameter's value as a user would write it."""
    if isinstance(value, tuple):
        return "/".join(show_value(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)
