"""The errors that end a command; the exit code follows from the type."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path


class HarnessError(Exception):
    """An error reported in one line instead of a traceback (exit code 1)."""

    exit_code = 1


class UserError(HarnessError):
    """A mistake in the user's input; the text says what was expected, what it got and what to do (exit code 2)."""

    exit_code = 2


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for an unknown name; it lists near names first, then all of them."""
    names = sorted(known)
    return UserError(f"unknown {kind} {name!r}.{did_you_mean(name, names)} Known: {', '.join(names) or 'none'}.")


def refuse_former(kind: type, renamed: Mapping[str, str]) -> None:
    """Raises: UserError for a class that defines what has been renamed, which nobody would read."""
    for former, now in renamed.items():
        if former in vars(kind):
            raise UserError(f"{kind.__name__} defines `{former}`, which is no longer read. Now it is {now}.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known names near this one, as a sentence after a space; "" where none is near."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def reason_of(error: BaseException) -> str:
    """One line: what went wrong and, where the error is not the harness's own, in which line of which file."""
    first = first_line(error)
    if isinstance(error, HarnessError):
        return first
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first} ({Path(last.filename).name}:{last.lineno})"


def first_line(error: BaseException) -> str:
    """Of the error's text, such that it can be printed and stored; the text of anybody's error may fail."""
    try:
        lines = str(error).encode("utf-8", "backslashreplace").decode().splitlines()
    except Exception:
        return "its message cannot be read"
    return next((line for line in lines if line.strip()), "no message")
