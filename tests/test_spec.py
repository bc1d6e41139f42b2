"""Names with parameters: how text becomes typed keyword arguments, and the one label of a thing."""

from __future__ import annotations

import functools
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.spec import Bound, Spec, bind, parameters_of, split_list


class Everything:
    """One parameter of every kind that text may set, and two that it may not."""

    def __init__(
        self,
        *,
        count: int = 3,
        share: float = 0.5,
        flag: bool = False,
        word: str = "plain",
        radii: tuple[float, ...] = (1.0, 2.0),
        names: tuple[str, ...] = (),
        limit: int | None = None,
        mode: Literal["low", "high"] = "low",
        scales: tuple[int, ...] | None = None,
        table: dict[str, int] | None = None,
        shape: list[int] = [],  # noqa: B006 (never touched)
    ) -> None:
        pass


def needs_path(path: str, *, size: int = 1) -> tuple[str, int]:
    return path, size


def from_text(text: str, factory: Any = Everything, **options: Any) -> Bound:
    return bind("thing", Spec.parse(text), factory, **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vanilla", ("vanilla", None, {})),
        ("  vanilla  ", ("vanilla", None, {})),
        ("fixed:nu=16,level=0.5", ("fixed", None, {"nu": "16", "level": "0.5"})),
        ("parquet:some/dir", ("parquet", "some/dir", {})),
        ("parquet:a,b,c", ("parquet", "a,b,c", {})),
        ("parquet:a,b,limit=3", ("parquet", "a,b", {"limit": "3"})),
        ("parquet:C:\\pictures", ("parquet", "C:\\pictures", {})),
        ("parquet:/data/run=1/x", ("parquet", "/data/run=1/x", {})),
        ("adversarial:attacks=pgd:steps=7", ("adversarial", None, {"attacks": "pgd:steps=7"})),
        ("thing:word=", ("thing", None, {"word": ""})),
    ],
)
def test_a_name_is_taken_apart(text: str, expected: tuple[str, str | None, dict[str, str]]) -> None:
    assert Spec.parse(text) == Spec(*expected)


@pytest.mark.parametrize("text", ["", "   ", ":", "name:", ":x=1", "name:a=1,b", "name:a=1,a=2", "name:a=1,"])
def test_a_malformed_name_is_quoted_in_the_error(text: str) -> None:
    with pytest.raises(UserError) as error:
        Spec.parse(text)

    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("vanilla", ["vanilla"]),
        ("vanilla, blur ,", ["vanilla", "blur"]),
        ("a:x=1,y=2,b", ["a:x=1,y=2", "b"]),
        ("a,b:x=1, y=2,c:z=3", ["a", "b:x=1,y=2", "c:z=3"]),
    ],
)
def test_a_list_keeps_parameters_with_their_name(text: str, items: list[str]) -> None:
    assert split_list(text) == items


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True),
            st.dictionaries(
                st.from_regex(r"[a-z]\w{0,4}", fullmatch=True), st.text("0123456789./-", min_size=1), max_size=3
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_joined_list_comes_apart_again(things: list[tuple[str, dict[str, str]]]) -> None:
    texts = [
        f"{name}:{','.join(f'{key}={value}' for key, value in given.items())}" if given else name
        for name, given in things
    ]

    parts = split_list(",".join(texts))

    assert parts == texts
    assert [(spec.name, spec.parameters) for spec in map(Spec.parse, parts)] == things


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("x:count=-2", "count", -2),
        ("x:share=1e-3", "share", 0.001),
        ("x:share=2", "share", 2.0),
        ("x:flag=true", "flag", True),
        ("x:flag=OFF", "flag", False),
        ("x:flag=1", "flag", True),
        ("x:word=3", "word", "3"),
        ("x:radii=4/6.5", "radii", (4.0, 6.5)),
        ("x:radii=4", "radii", (4.0,)),
        ("x:names=fgsm/pgd", "names", ("fgsm", "pgd")),
        ("x:limit=7", "limit", 7),
        ("x:mode=high", "mode", "high"),
        ("x:scales=2/4", "scales", (2, 4)),
    ],
)
def test_a_value_takes_the_type_of_its_annotation(text: str, key: str, value: object) -> None:
    arguments = from_text(text).arguments

    assert arguments == {key: value}
    assert type(arguments[key]) is type(value)


@pytest.mark.parametrize(
    ("text", "expected", "came"),
    [
        ("x:count=two", "int", "'two'"),
        ("x:count=2.5", "int", "'2.5'"),
        ("x:share=half", "float", "'half'"),
        ("x:flag=maybe", "bool", "'maybe'"),
        ("x:limit=none", "int", "'none'"),
        ("x:radii=1//2", "float", "''"),
        ("x:scales=2/b", "int", "'b'"),
        ("x:mode=middle", "low, high", "'middle'"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_what_was_expected(text: str, expected: str, came: str) -> None:
    with pytest.raises(UserError) as error:
        from_text(text)

    assert expected in str(error.value)
    assert came in str(error.value)
    assert "'x'" in str(error.value)


@pytest.mark.parametrize("key", ["cuont", "table", "shape", "self"])
def test_a_wrong_parameter_is_refused_with_the_right_ones(key: str) -> None:
    with pytest.raises(UserError) as error:
        from_text(f"x:{key}=1")

    assert f"no parameter {key!r}" in str(error.value)
    assert "count, share, flag, word, radii, names, limit, mode, scales." in str(error.value)


def test_what_the_harness_provides_cannot_be_set_by_text() -> None:
    with pytest.raises(UserError, match="no parameter 'count'") as error:
        from_text("x:count=1", provided=("count",))

    assert "Its parameters: share," in str(error.value)


def test_a_thing_without_parameters_says_so() -> None:
    class Plain:
        pass

    assert from_text("plain", Plain) == Bound({}, "plain")
    with pytest.raises(UserError, match="Its parameters: none"):
        from_text("plain:x=1", Plain)


def test_a_positional_text_is_the_first_required_parameter() -> None:
    assert from_text("x:a,b,size=2", needs_path).arguments == {"path": "a,b", "size": 2}


def test_a_missing_required_parameter_is_named() -> None:
    with pytest.raises(UserError, match="needs 'path': write x:path="):
        from_text("x:size=2", needs_path)


def test_a_positional_text_where_nothing_is_required_is_refused() -> None:
    with pytest.raises(UserError, match=r"key=value parameters only \(count, .*got 'fast'"):
        from_text("x:fast")


def test_one_parameter_given_by_place_and_by_name_is_refused() -> None:
    with pytest.raises(UserError, match="'path' of the thing 'x' is given twice: by place and as path=there"):
        from_text("x:here,path=there", needs_path)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("x", "x"),
        ("x:share=0.25,count=16", "x:count=16,share=0.25"),
        ("x:count=3,share=.50", "x"),
        ("x:share=16.0", "x:share=16"),
        ("x:flag=yes", "x:flag=true"),
        ("x:radii=4.0/6.50", "x:radii=4/6.5"),
        ("x:radii=1/2", "x"),
        ("x:names=a/b,word=q", "x:word=q,names=a/b"),
    ],
)
def test_a_label_has_signature_order_and_leaves_defaults_out(text: str, label: str) -> None:
    assert from_text(text).label == label


def test_defaults_of_the_run_fill_in_only_what_the_text_leaves_open() -> None:
    filled = from_text("x:share=0.1", defaults={"share": 0.9, "count": 8, "nowhere": 1})

    assert filled == Bound({"share": 0.1, "count": 8}, "x:count=8,share=0.1")


def test_a_default_of_the_run_equal_to_the_things_own_is_not_shown() -> None:
    assert from_text("x", defaults={"share": 0.5}).label == "x"


@given(
    count=st.integers(-(10**9), 10**9),
    share=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    radii=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3),
    mode=st.sampled_from(["low", "high"]),
)
def test_a_label_is_its_own_label(count: int, share: float, flag: bool, radii: list[float], mode: str) -> None:
    shown_radii = "/".join(map(repr, radii))
    label = from_text(f"x:mode={mode},flag={flag},radii={shown_radii},share={share!r},count={count}").label

    assert from_text(label).label == label
    assert Spec.parse(label).parameters.get("count", "3") == str(count)


@pytest.mark.parametrize("text", ["x:plain/dir", "x:a,b", "x:a,b,size=2", "x:path=plain"])
def test_a_label_with_a_path_names_the_same_thing(text: str) -> None:
    first = from_text(text, needs_path)

    assert from_text(first.label, needs_path) == first


def test_parameters_are_read_of_whatever_can_be_called() -> None:
    class Maker:
        def __call__(self, *, size: int = 3) -> int:
            return size

    def make(*, size: int = 3, place: str) -> str:
        return place * size

    assert list(parameters_of(Maker())) == ["size"]
    assert list(parameters_of(functools.partial(make, size=4))) == ["size", "place"]
    assert list(parameters_of(make, ("place",))) == ["size"]


def test_an_annotation_that_names_nothing_is_refused() -> None:
    def make(*, size: Nowhere = 3) -> None:  # noqa: F821 (that is the point)
        """As of an import that is made for type checking only."""

    with pytest.raises(UserError, match=r"the parameters of .*make cannot be read: name 'Nowhere' is not defined"):
        parameters_of(make)
