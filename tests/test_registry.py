"""Registries: who is called what, where it comes from, and how a name becomes an object."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harness import registry as registry_module
from harness.errors import UserError
from harness.registry import Registry, load_plugin

PLUGIN = """
from harness.registry import defenses

@defenses.register("{name}")
class Mine:
    '''A defense of mine.'''
"""


class Blur:
    """Blurs.

    More about it.
    """

    def __init__(self, *, sigma: float = 2.0, kernel: int = 3) -> None:
        self.sigma = sigma
        self.kernel = kernel


@pytest.fixture
def things() -> Registry:
    registry = Registry("thing", "things", provided=("classes",))
    registry.register("blur")(Blur)
    return registry


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Writes plugin files; what they register is forgotten afterwards."""
    modules = set(sys.modules)

    def write(text: str, name: str = "plugin.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    with registry_module.defenses.restored():
        yield write
    for name in set(sys.modules) - modules:
        if name.startswith("harness_plugin_"):
            del sys.modules[name]


def test_the_error_for_an_unknown_name_lists_near_names_and_all_names(things: Registry) -> None:
    things.register("median")(lambda: 0)

    with pytest.raises(UserError, match=r"unknown thing 'blurr'. Did you mean blur[?] Known: blur, median."):
        things.create("blurr")


def test_an_unknown_name_near_nothing_still_lists_all_names(things: Registry) -> None:
    with pytest.raises(UserError, match=r"unknown thing 'qqq'. Known: blur."):
        things.entry("qqq")


def test_an_empty_registry_says_that_there_is_nothing() -> None:
    with pytest.raises(UserError, match=r"Known: none."):
        Registry("thing", "things").create("blur")


def test_a_name_taken_twice_names_both_places(things: Registry) -> None:
    def other() -> None:
        pass

    with pytest.raises(UserError, match="registered twice") as error:
        things.register("blur")(other)

    assert f"at {things.entry('blur').place} and at {__file__}:{other.__code__.co_firstlineno + 4}." in str(error.value)
    assert things.entry("blur").factory is Blur


def test_the_same_place_may_register_again(things: Registry) -> None:
    for _ in range(2):

        @things.register("again")
        def again() -> int:
            return 7

    assert things.create("again") == 7


def test_objects_without_source_are_told_apart(things: Registry) -> None:
    things.register("partial")(functools.partial(Blur, sigma=1.0))

    with pytest.raises(UserError, match="registered twice"):
        things.register("partial")(functools.partial(Blur, sigma=9.0))


def test_two_classes_of_one_name_in_one_file_are_told_apart(plugin: Callable[..., Path]) -> None:
    path = plugin(PLUGIN.format(name="copied") * 2)

    with pytest.raises(UserError, match=rf"registered twice: at {path}:4 and at {path}:10"):
        load_plugin(path)


def test_the_summary_is_the_first_line_of_the_docstring(things: Registry) -> None:
    things.register("silent")(lambda: 0)

    assert [(entry.name, entry.summary) for entry in things] == [("blur", "Blurs."), ("silent", "")]


def test_a_name_with_parameters_becomes_an_object_that_knows_its_label(things: Registry) -> None:
    made = things.create("blur:kernel=7,sigma=2.0")

    assert (made.sigma, made.kernel, made.label) == (2.0, 7, "blur:kernel=7")
    assert things.canonical("blur:kernel=7,sigma=2.0") == "blur:kernel=7"


def test_a_wrong_parameter_is_refused_with_the_right_ones(things: Registry) -> None:
    with pytest.raises(UserError, match=r"the thing 'blur' has no parameter 'sigm'. Its parameters: sigma, kernel."):
        things.create("blur:sigm=2")
    with pytest.raises(UserError, match="kernel must be of type int, got 'wide'"):
        things.canonical("blur:kernel=wide")


def test_what_is_not_of_the_base_class_is_refused_with_its_place() -> None:
    numbers = Registry("number", "numbers")
    numbers.base_class(Decimal)
    numbers.register("right")(Decimal)
    numbers.register("wrong")(float)

    assert numbers.create("right") == 0
    with pytest.raises(
        UserError, match=rf"'wrong' \({__file__}:\d+\) must be a decimal.Decimal, got a float. Derive it"
    ):
        numbers.create("wrong")


def test_a_docstring_that_is_inherited_is_nobodys_own(things: Registry) -> None:
    class Described:
        """Something general."""

    class Plain(Described):
        pass

    things.register("plain")(Plain)
    things.register("partial")(functools.partial(Described))

    assert things.entry("plain").doc == things.entry("plain").summary == ""
    assert things.entry("partial").doc == "Something general."


def test_a_factory_gets_only_the_context_it_asks_for(things: Registry) -> None:
    @things.register("network")
    def network(*, classes: int, width: int = 4) -> tuple[int, int]:
        return classes, width

    assert things.create("network:width=5", classes=10, image_shape=(3, 32, 32)) == (10, 5)


def test_what_the_harness_provides_is_no_parameter_of_a_name(things: Registry) -> None:
    @things.register("network")
    def network(*, classes: int, width: int = 4) -> None:
        pass

    with pytest.raises(UserError, match=r"no parameter 'classes'. Its parameters: width."):
        things.create("network:classes=3", classes=10)


@dataclasses.dataclass(frozen=True)
class Frozen:
    size: int = 1


@pytest.mark.parametrize("factory", [Frozen, lambda: (1, 2), lambda: Blur, lambda: {"a": 1}])
def test_what_takes_no_attributes_is_made_all_the_same(things: Registry, factory: Callable[[], Any]) -> None:
    things.register("bare")(factory)

    assert things.create("bare") == factory()
    assert not hasattr(Blur, "label")


def test_run_wide_values_reach_only_things_that_have_such_a_parameter(things: Registry) -> None:
    assert things.canonical("blur", sigma=3.0, level=0.6) == "blur:sigma=3"
    assert things.canonical("blur:sigma=2.5", sigma=3.0) == "blur:sigma=2.5"


def write_package(folder: Path, name: str, **modules: str) -> None:
    (folder / name).mkdir()
    for module, text in {"__init__": "", **modules}.items():
        (folder / name / f"{module}.py").write_text(text)


def register_in(registry: str, name: str) -> str:
    return f"from {registry} import things\n@things.register('{name}')\ndef f() -> int:\n    'One.'\n    return 1\n"


@pytest.fixture
def own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder where the project's own packages are taken to lie."""
    monkeypatch.setattr("harness.packages.ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_every_public_module_of_a_package_is_discovered(own_root: Path) -> None:
    (own_root / "holder_a.py").write_text(
        "from harness.registry import Registry\nthings = Registry('thing', 'things', 'stock_a')\n"
    )
    write_package(
        own_root,
        "stock_a",
        one=register_in("holder_a", "one"),
        two=register_in("holder_a", "two"),
        _hidden="raise RuntimeError('private modules are not imported')",
    )
    things = importlib.import_module("holder_a").things

    assert things.names() == ["one", "two"]
    assert things.create("two") == 1


def test_a_discovery_that_failed_fails_again(own_root: Path) -> None:
    write_package(own_root, "stock_b", broken="raise RuntimeError('broken module')")
    registry = Registry("thing", "things", "stock_b")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken module"):
            registry.names()


class FakePoint:
    """An entry point of an installed package."""

    name, value = "mine", "package:thing"

    def __init__(self, load: Callable[[], object]) -> None:
        self.load = load


def offer(monkeypatch: pytest.MonkeyPatch, group: str, load: Callable[[], object]) -> None:
    points = {group: [FakePoint(load)]}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points.get(group, []))


def test_an_entry_point_adds_a_name(things: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "virolbi_harness.things", lambda: things.register("outside")(lambda: 5))

    assert things.create("outside") == 5
    assert things.names() == ["blur", "outside"]


def test_an_entry_point_of_another_kind_is_not_loaded(things: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "virolbi_harness.others", lambda: pytest.fail("loaded"))

    assert things.names() == ["blur"]


def test_a_broken_entry_point_is_named_in_one_line(things: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise ImportError("no module named nowhere")

    offer(monkeypatch, "virolbi_harness.things", load)

    with pytest.raises(UserError, match=r"entry point .*mine.*package:thing.*no module named nowhere"):
        things.names()


def test_a_plugin_registers_its_names(plugin: Callable[..., Path]) -> None:
    load_plugin(plugin(PLUGIN.format(name="from_plugin")))

    assert registry_module.defenses.entry("from_plugin").summary == "A defense of mine."
    assert "from_plugin" in registry_module.defenses.names()


def test_a_plugin_given_twice_is_loaded_once(plugin: Callable[..., Path], tmp_path: Path) -> None:
    path = plugin(f"with open({str(tmp_path / 'loads')!r}, 'a') as log:\n    log.write('x')\n")

    load_plugin(path)
    load_plugin(f"{tmp_path}/./{path.name}")

    assert (tmp_path / "loads").read_text() == "x"


def test_an_edited_plugin_has_another_fingerprint_and_our_own_code_its_version(plugin: Callable[..., Path]) -> None:
    path = plugin(PLUGIN.format(name="edited") + "\ndefenses.register('part')(__import__('functools').partial(Mine))\n")
    load_plugin(path)
    registry = registry_module.defenses
    before = [registry.fingerprint("edited"), registry.fingerprint("part")]

    path.write_text(path.read_text() + "# changed\n")

    assert before[0] == before[1] != registry.fingerprint("edited")
    assert registry.fingerprint("vanilla") == "1"


def test_plugins_of_one_file_name_do_not_meet(plugin: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    load_plugin(plugin(PLUGIN.format(name="first_one")))
    load_plugin(plugin(PLUGIN.format(name="second_one"), "other/plugin.py"))

    assert {"first_one", "second_one"} <= set(registry_module.defenses.names())


def test_a_plugin_cannot_take_a_name_that_is_there(plugin: Callable[..., Path]) -> None:
    taken = registry_module.defenses.entry("vanilla")
    path = plugin(PLUGIN.format(name="vanilla"))

    with pytest.raises(UserError, match="registered twice") as error:
        load_plugin(path)

    assert str(path) in str(error.value)
    assert taken.place in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_plugin_that_fails_is_named_with_the_reason(plugin: Callable[..., Path], text: str, reason: str) -> None:
    path = plugin(text)

    for _ in range(2):
        with pytest.raises(UserError, match=f"{path} could not be imported: {reason}"):
            load_plugin(path)


def test_a_plugin_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expects a Python file, got .*nowhere.py', which does not exist"):
        load_plugin(tmp_path / "nowhere.py")


def test_a_plugin_that_is_no_python_file_is_refused(plugin: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"ending in .py, got .*plugin.txt"):
        load_plugin(plugin("x = 1", "plugin.txt"))
