"""Finds the project's own top-level packages by where they lie, not by who is first on the path.

`datasets` is also the name of Hugging Face's library. Where that one comes first on `sys.path`, ours is
imported under a private name (`harness_datasets`) and the public name stays theirs.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def load_package(name: str) -> ModuleType:
    """Import `name` (dotted, such as "harness.suites") from beside the harness.

    >>> load_package("harness.suites").__name__
    'harness.suites'
    """
    top, _, rest = name.partition(".")
    own = ROOT / top / "__init__.py"
    if _resolves_to(top, own):
        return importlib.import_module(name)
    _import_as(f"harness_{top}", own)
    return importlib.import_module(f"harness_{name}") if rest else sys.modules[f"harness_{top}"]


def load_modules(name: str) -> list[ModuleType]:
    """Import the package or module `name` and every public module directly inside it, in alphabetical order."""
    package = load_package(name)
    found = sorted(module.name for module in pkgutil.iter_modules(getattr(package, "__path__", [])))
    public = [module for module in found if not module.startswith("_")]
    return [importlib.import_module(f"{package.__name__}.{module}") for module in public]


def _resolves_to(top: str, own: Path) -> bool:
    """Whether a plain `import top` gives, or would give, our package."""
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
