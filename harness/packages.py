"""Imports the packages whose modules register things: `harness`, `defenses`, `datasets` and `reports`.

`datasets` is also the name of Hugging Face's library. In a wheel ours is called `harness_datasets`. In a checkout it is
imported under that name where Hugging Face's comes first on `sys.path`.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the folder of installed packages."""


def load_modules(pattern: str) -> list[ModuleType]:
    """Import the module that `pattern` names; of a package, every public module directly inside it, sorted by name.

    A `*` stands for every package at that level that has what follows: "defenses.*.commands".
    """
    modules = []
    for match in _matching(pattern):
        modules += [importlib.import_module(f"{match.__name__}.{name}") for name in _inside(match)] or [match]
    return modules


def is_ours(file: Path) -> bool:
    """Whether a file lies in one of our packages. Beside them, in `site-packages`, lie everyone else's."""
    return any(_folder(name) in file.resolve().parents for name in ("harness", "defenses", "datasets", "reports"))


def _folder(name: str) -> Path:
    """The folder of our package: under its private name in a wheel, under its own in a checkout."""
    private = ROOT / f"harness_{name}"
    return private if private.is_dir() else ROOT / name


def _matching(pattern: str) -> list[ModuleType]:
    """The packages and modules that a pattern names. Raises: ModuleNotFoundError for one that is not there.

    Of the packages at a `*` those that lack the folder named next are not imported: a broken one cannot break others.
    """
    top, *rest = pattern.split(".")
    matches = [_top(top)]
    for part, following in itertools.zip_longest(rest, rest[1:]):
        if part == "*":
            inside = [(parent, name) for parent in matches for name in _inside(parent, packages=True)]
            names = [(up, name) for up, name in inside if following is None or _has(up, name, following)]
        else:
            names = [(parent, part) for parent in matches]
        matches = [importlib.import_module(f"{parent.__name__}.{name}") for parent, name in names]
    return matches


def _has(parent: ModuleType, name: str, folder: str) -> bool:
    """Whether a package inside another has a folder of this name."""
    return any((Path(place) / name / folder).is_dir() for place in parent.__path__)


def _inside(package: ModuleType, *, packages: bool = False) -> Iterator[str]:
    """The names of the public modules directly inside a package, sorted; with `packages`, of its packages only."""
    inside = sorted(pkgutil.iter_modules(getattr(package, "__path__", [])), key=lambda module: module.name)
    return (module.name for module in inside if not module.name.startswith("_") and (module.ispkg or not packages))


def _top(name: str) -> ModuleType:
    """Our package of this name, even where another one comes first on the path."""
    folder = _folder(name)
    own = folder / "__init__.py"
    if _resolves_to(folder.name, own):
        return importlib.import_module(folder.name)
    private = f"harness_{name}"
    _import_as(private, own)
    return sys.modules[private]


def _resolves_to(top: str, own: Path) -> bool:
    """Whether `import top` gives our package."""
    loaded = sys.modules.get(top)
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
    else:
        spec = importlib.util.find_spec(top)
        origin = spec.origin if spec is not None else None
    return origin is not None and Path(origin).resolve() == own


def _import_as(alias: str, init: Path) -> None:
    if alias in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(alias, init, submodule_search_locations=[str(init.parent)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[alias]
        raise
