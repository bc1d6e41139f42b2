"""The errors that end a command, whose exit code follows from the type, and any error in one line."""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.packages import is_ours


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


@contextmanager
def anybodys_code(what: str, advice: str = "") -> Iterator[None]:
    """Within the block runs code that may be anybody's: a plugin's, a network's.

    what: what it failed at, for the error
    Raises: UserError for whatever it raises, even SystemExit, but our own errors and the user's interrupt.
    """
    try:
        yield
    except (HarnessError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UserError(f"{what}: {reason_of(error)}.{advice}") from error


def reason_of(error: BaseException) -> str:
    """One line: what went wrong and, where the error is not the harness's own, in which line of which file."""
    if isinstance(error, HarnessError):
        return first_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = line_of_user(error) or (f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "")
    return f"{type(error).__name__}: {first_line(error)}" + (f" ({place})" if place else "")


def line_of_user(error: BaseException) -> str | None:
    """The innermost line, as FILE:LINE, of a file that is neither ours nor installed: of a plugin. None where none is.

    An error of a plugin's syntax counts as its line.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    library = Path(sysconfig.get_path("stdlib")).resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        place = file.resolve()
        installed = library in place.parents or {"site-packages", "dist-packages"} & {*place.parts}
        if file.is_file() and not is_ours(file) and not installed:
            return f"{file.name}:{frame.lineno}"
    return None


def first_line(error: BaseException) -> str:
    """The first line of an error's text, such that it can be printed and stored; anybody's error may have none."""
    try:
        lines = str(error).encode(errors="backslashreplace").decode().splitlines()
    except BaseException:
        return "no message"
    return next((line.strip() for line in lines if line.strip()), "no message")
