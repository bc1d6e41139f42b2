"""Registries: what each name stands for, and how a name with parameters becomes an object.

A thing registers itself by decorator. Its module is found by discovery, an entry point or `--plugin`:

    from harness.registry import defenses

    @defenses.register("my_defense")
    class MyDefense(Defense):
        '''One line that `list` shows.'''
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from harness.errors import UserError, anybodys_code, unknown_name
from harness.packages import is_ours, load_modules
from harness.spec import Spec, bind, parameters_of

Factory = TypeVar("Factory", bound=Callable[..., Any])
Base = TypeVar("Base", bound=type)
ENTRY_POINT_PREFIX = "virolbi_harness"


class Entry(NamedTuple):
    """One registered thing."""

    name: str
    factory: Callable[..., Any]
    """The class or function that makes it."""
    place: str
    """Where it was registered, as file:line."""
    internal: bool = False
    """Whether it is for the harness's own use: lists and error texts do not offer it."""

    @property
    def doc(self) -> str:
        """Its own docstring; an inherited one does not count."""
        factory = self.factory.func if isinstance(self.factory, functools.partial) else self.factory
        return inspect.cleandoc(factory.__doc__) if isinstance(factory.__doc__, str) else ""

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return self.doc.split("\n")[0]


class Registry:
    """The names of one kind of thing; the first question for a name imports the modules of `packages`."""

    def __init__(self, kind: str, plural: str, *packages: str, provided: tuple[str, ...] = ()) -> None:
        """`packages`: patterns as for `load_modules`; `provided`: parameters that the harness sets and no user may."""
        self.kind = kind
        self.plural = plural
        self.packages = packages
        self.provided = provided
        self.base: type = object
        self._entries: dict[str, Entry] = {}
        self._discovered = False

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}, {self.plural!r}, *{self.packages!r}, provided={self.provided!r})"

    def register(self, name: str, *, internal: bool = False) -> Callable[[Factory], Factory]:
        """Decorator: `name` now stands for this class or function, which is called with keyword arguments.

        Raises: UserError, with both places, when the name was registered elsewhere before.
        """

        def decorate(factory: Factory) -> Factory:
            entry = Entry(name, factory, _line_of_caller(), internal)
            taken = self._entries.get(name)
            if taken is not None and taken.place != entry.place:
                raise UserError(
                    f"the {self.kind} name {name!r} is registered twice: at {taken.place} and at {entry.place}. "
                    "Rename one of them."
                )
            self._entries[name] = entry
            return factory

        return decorate

    def base_class(self, base: Base) -> Base:
        """Decorator: every registered factory must make objects of this class."""
        self.base = base
        return base

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """After the block every name stands for what it stood for before; for tests and notebooks."""
        self._discover()
        before = dict(self._entries)
        try:
            yield
        finally:
            self._entries = before

    @contextlib.contextmanager
    def temporarily(self, name: str, factory: Callable[..., Any]) -> Iterator[None]:
        """Within the block `name` stands for this factory, whatever it stands for otherwise."""
        with self.restored():
            self._entries[name] = Entry(name, factory, _line_of_caller())
            yield

    def names(self) -> list[str]:
        """Every registered name, sorted."""
        self._discover()
        return sorted(self._entries)

    def offered(self) -> list[Entry]:
        """The entries that a user may ask for, sorted by name."""
        return [entry for entry in self if not entry.internal]

    def __iter__(self) -> Iterator[Entry]:
        return iter([self._entries[name] for name in self.names()])

    def entry(self, name: str) -> Entry:
        """The entry of a name without parameters. Raises: UserError with near names and all names."""
        self._discover()
        if name not in self._entries:
            raise unknown_name(self.kind, name, [entry.name for entry in self.offered()])
        return self._entries[name]

    def canonical(self, text: str, **defaults: Any) -> str:
        """The one spelling of `text`: parameters in signature order, without those at their default.

        defaults: the run's values for parameters that the thing has and the text leaves open
        """
        spec = Spec.parse(text)
        return bind(self.kind, spec, self.entry(spec.name).factory, self.provided, defaults).label

    def parameters(self, text: str) -> dict[str, Any]:
        """All the parameters of what `text` names by name, those that it leaves out at their defaults."""
        spec = Spec.parse(text)
        factory = self.entry(spec.name).factory
        given = bind(self.kind, spec, factory, self.provided).arguments
        settable = parameters_of(factory, self.provided)
        return {name: given.get(name, parameter.default) for name, parameter in settable.items()}

    def create(self, text: str, **context: Any) -> Any:
        """Make the thing that `text` names, such as `"virolbi_fixed:nu=16,level=0.5"`.

        Its label is stored as `.label` where it takes attributes.

        context: what the harness provides, such as `data_root`; a factory gets what it has parameters for
        Raises: UserError for an unknown name, an unknown parameter, a value of the wrong type, a factory that raises,
        or a thing that is not of the kind's base class.
        """
        spec = Spec.parse(text)
        factory = self.entry(spec.name).factory
        bound = bind(self.kind, spec, factory, self.provided)
        wanted = inspect.signature(factory).parameters
        with anybodys_code(f"the {self.kind} {text!r} could not be made"):
            made = factory(**bound.arguments, **{key: value for key, value in context.items() if key in wanted})
            self._check(spec.name, made)
            if not isinstance(made, type):
                with contextlib.suppress(AttributeError):  # a tuple or a frozen object
                    made.label = bound.label
        return made

    def _check(self, name: str, made: Any) -> None:
        """Raises: UserError for a thing that is not of the base class."""
        if not isinstance(made, self.base):
            raise UserError(
                f"the {self.kind} {name!r} ({self.entry(name).place}) must be a "
                f"{self.base.__module__}.{self.base.__name__}, "
                f"got a {type(made).__name__}. Derive it from that class."
            )

    def fingerprint(self, text: str) -> str:
        """The version of the code behind a name: its declared `version`, for a plugin with a digest of its file.

        It is part of a result's identity, so that the results of an edited plugin are computed again.
        """
        entry = self.entry(Spec.parse(text).name)
        version = str(getattr(entry.factory, "version", 1))
        file = Path(entry.place.rpartition(":")[0])
        if is_ours(file):
            return version
        return f"{version}:{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}" if file.is_file() else version

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # first, since a module may ask for names while it is imported
        try:
            for package in self.packages:
                load_modules(package)
            for point in importlib.metadata.entry_points(group=f"{ENTRY_POINT_PREFIX}.{self.plural}"):
                _load_entry_point(point)
        except BaseException:
            self._discovered = False
            raise


def load_plugin(path: str | Path) -> None:
    """Import a user's file, so that the registries know what it registers.

    Raises: UserError when the file is missing or fails to import.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise UserError(f"--plugin expects a Python file, got {str(path)!r}, which does not exist.")
    name = f"harness_plugin_{file.stem}_{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin expects a Python file ending in .py, got {str(path)!r}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with anybodys_code(f"the plugin {file} could not be imported"):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _load_entry_point(point: importlib.metadata.EntryPoint) -> None:
    what = f"the entry point {point.name} = {point.value} could not be loaded"
    with anybodys_code(what, " Repair or uninstall the package that brings it."):
        point.load()


def _line_of_caller() -> str:
    """The line, as file:line, that called the function which asks; a `with` statement counts as the caller."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename == contextlib.__file__ and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


commands = Registry("command", "commands", "harness.commands", "defenses.*.commands")
defenses = Registry("defense", "defenses", "defenses", "defenses.*")
preprocessors = Registry("preprocessor", "preprocessors", "defenses", "defenses.*")
suites = Registry("suite", "suites", "harness.suites")
datasets = Registry("dataset", "datasets", "datasets", provided=("data_root", "cache"))
backbones = Registry("backbone", "backbones", "harness.models.backbones", provided=("classes", "image_shape"))
attacks = Registry("attack", "attacks", "harness.attacks")
corruptions = Registry("corruption", "corruptions", "harness.corruptions")
tables = Registry("table", "tables", "reports.tables")
exhibits = Registry("exhibit", "exhibits", "harness.explain", "defenses.*.explain")
figures = Registry("figure", "figures", "reports.figures")

ALL = (defenses, preprocessors, suites, datasets, backbones, attacks, corruptions, tables, exhibits, figures)
"""The registries that `list` shows: those whose names a user may give."""
