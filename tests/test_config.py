"""What a run is told: checks, presets, texts from the command line and from TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import (
    QUICK_ATTACK_LIMIT,
    QUICK_LIMIT,
    RunConfig,
    parse_epsilons,
    parse_names,
    parse_numbers,
    read_toml,
    usual_level,
)
from harness.errors import UserError


@pytest.mark.parametrize(
    ("option", "given", "shown"),
    [
        ("epochs", 0, "--epochs must be 1 or more, got 0."),
        ("batch_size", 1, "--batch-size must be 2 or more, got 1."),
        ("limit", 0, "--limit must be 1 or more test images, got 0."),
        ("limit", -3, "got -3."),
        ("level", 1.5, "--level must be above 0 and at most 1, got 1.5."),
        ("level", 0.0, "got 0."),
        ("level", -0.1, "got -0.1."),
        ("level", float("nan"), "got nan."),
        ("nu", 0.0, "--nu must be a number above 0, got 0."),
        ("nu", float("inf"), "got inf."),
        ("nu", float("nan"), "got nan."),
        ("seeds", (0, -1), "--seed must be 0 or more, got -1."),
        ("seeds", (), "--seed must be at least one number, got nothing."),
        ("defenses", (), "--defense must be at least one name, got nothing."),
        ("suites", (), "--suite must be at least one name, got nothing."),
        ("epsilons", (), "--epsilons must be at least one radius, got nothing."),
        ("epsilons", (0.0,), "--epsilons must be above 0 and finite, such as 8/255, got 0."),
        ("epsilons", (float("nan"),), "got nan."),
    ],
)
def test_a_value_out_of_range_is_refused_with_option_range_and_value(option: str, given: Any, shown: str) -> None:
    with pytest.raises(UserError) as error:
        RunConfig(**{option: given})

    assert shown in str(error.value)


@pytest.mark.parametrize("level", [1e-9, 0.6, 1.0])
def test_the_ends_of_a_range_belong_to_it(level: float) -> None:
    assert RunConfig(level=level, epochs=1, limit=1, batch_size=2, epsilons=(1.0,)).level == level


@pytest.mark.parametrize(("size", "level"), [(32, 0.6), (64, 0.6), (65, 0.3), (224, 0.3)])
def test_the_level_follows_the_size_of_the_images(size: int, level: float) -> None:
    assert usual_level(size) == level


@pytest.mark.parametrize(
    ("preset", "limit", "suite_limit", "adversarial", "expected"),
    [
        ("quick", None, None, False, QUICK_LIMIT),
        ("quick", None, None, True, QUICK_ATTACK_LIMIT),
        ("quick", None, 20, True, 20),
        ("quick", 1000, None, True, 1000),
        ("quick", 16, None, False, 16),
        ("quick", 16, 64, True, 16),
        ("paper", None, None, True, None),
        ("paper", None, 500, True, 500),
        ("paper", 16, 500, False, 16),
    ],
)
def test_the_smallest_limit_that_was_asked_for_holds(
    preset: Any, limit: int | None, suite_limit: int | None, adversarial: bool, expected: int | None
) -> None:
    config = RunConfig(preset=preset, limit=limit)

    assert config.test_limit(suite_limit, adversarial=adversarial) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8/255,16/255", (8 / 255, 16 / 255)),
        (" 0.03 , 1e-2 ", (0.03, 0.01)),
        ("8/255,,", (8 / 255,)),
        ("8/255,8/255,16/510", (8 / 255,)),
        ("", ()),
    ],
)
def test_radii_are_fractions_or_decimals(text: str, expected: tuple[float, ...]) -> None:
    assert parse_epsilons(text) == expected


@pytest.mark.parametrize("text", ["eight", "8/0", "8/255;16/255", "8 255"])
def test_radii_that_are_no_numbers_are_quoted(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_epsilons(text)

    assert f"such as 8/255,16/255 or 0.03, got {text!r}" in str(error.value)


@given(st.lists(st.integers(1, 255), min_size=1, unique=True))
def test_radii_in_levels_come_back_exactly(levels: list[int]) -> None:
    assert parse_epsilons(",".join(f"{level}/255" for level in levels)) == tuple(level / 255 for level in levels)


def test_seeds_are_whole_numbers_each_once() -> None:
    assert parse_numbers("2, 0,1,2,", "--seed") == (2, 0, 1)
    with pytest.raises(UserError, match=r"--seed expects whole numbers such as 0,1,2, got '1,x'"):
        parse_numbers("1,x", "--seed")


def test_names_keep_their_parameters_and_come_once() -> None:
    assert parse_names("vanilla,fixed:nu=16,level=0.5,vanilla") == ("vanilla", "fixed:nu=16,level=0.5")


KNOWN = ["defense", "seed", "batch_size", "amp", "epsilons"]


def toml(folder: Path, text: str | bytes) -> Path:
    path = folder / "run.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_sets_options_by_their_names_on_the_command_line(tmp_path: Path) -> None:
    path = toml(tmp_path, 'defense = "blur"\nbatch-size = 64\namp = true\nseed = [0, 1]\nepsilons = ["8/255", 0.5]\n')

    assert read_toml(path, KNOWN) == {
        "defense": "blur",
        "batch_size": 64,
        "amp": True,
        "seed": [0, 1],
        "epsilons": ["8/255", 0.5],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defence = 'x'\nsede = 1\n", "sets unknown options defence, sede. Known: amp, batch_size, defense"),
        ("[run]\ndefense = 'x'\n", "sets unknown options run."),
        ("defense = \n", "is not one:"),
        (b"\xff\xfe", "is not one:"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_reason(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = toml(tmp_path, text)

    with pytest.raises(UserError) as error:
        read_toml(path, KNOWN)

    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"could not read .*nowhere.toml: No such file"):
        read_toml(tmp_path / "nowhere.toml", KNOWN)


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "8/255,Infinity"])
def test_a_radius_that_is_no_finite_number_is_refused_for_its_size(text: str) -> None:
    with pytest.raises(UserError, match=r"--epsilons must be above 0 and finite, such as 8/255, got (-?inf|nan)"):
        RunConfig(epsilons=parse_epsilons(text))
