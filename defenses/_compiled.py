"""Numba's compiler, with compiled code kept where it can be, whatever name a module was imported under."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core import config as _config

from harness.cache import cache_folder
from harness.progress import say

config: Any = _config
_njit: Any = numba.njit


def compiled(*signatures: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` whose machine code is kept beside the source, else in the user's cache, else not at all.

    Numba's files name the module that was compiled. Each name that it is imported under therefore has a folder of its
    own: ours is `harness_defenses` where a user's package is called `defenses`.
    """

    if config.DISABLE_JIT:
        _say_compiled_all_the_same()
        config.DISABLE_JIT = 0

    def decorate(function: Callable[..., Any]) -> Any:
        source = Path(function.__code__.co_filename)
        name = f"{function.__module__.partition('.')[0]}-numba"
        for folder in _folders(source):
            with contextlib.suppress(RuntimeError, UnicodeError), _kept_in(folder / name):  # for one it cannot use
                return _njit(*signatures, cache=True, **options)(function)
        _say_unkept()
        return _njit(*signatures, **options)(function)

    return decorate


@functools.cache
def _say_compiled_all_the_same() -> None:
    """Say it once."""
    say("Numba's setting disable_jit is ignored: uncompiled, smoothing one image takes minutes.")


@functools.cache
def _say_unkept() -> None:
    """Say it once."""
    say("compiled code cannot be kept: every start compiles again, which takes half a minute.")


def _folders(source: Path) -> Iterator[Path]:
    """Where compiled code may be kept, the best first."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(given)
    yield source.parent / "__pycache__"
    yield cache_folder()


@contextlib.contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Numba's folder of compiled code within the block."""
    settings = {"CACHE_DIR": str(folder), "CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    before = {name: getattr(config, name, "") for name in settings}
    vars(config).update(settings)
    try:
        yield
    finally:
        vars(config).update(before)
