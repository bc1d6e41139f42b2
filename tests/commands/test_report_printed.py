"""The report command: what it prints, and what it says to run next."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from support.report_command import Call, record, times

from harness.records.plan import Plan, PlannedJob, note_plan
from harness.records.schema import Details


def test_the_summary_is_printed_and_every_table_is_made(run: Path, call: Call, drawn: list[Any]) -> None:
    _, shown, said = call(run)

    assert titles(shown) == ["Summary"]
    assert f"made: 2 tables in {run / 'tables'}, 1 figure in {run / 'figures'}, page {run / 'index.html'}\n" in said


def titles(shown: str) -> list[str]:
    """The titles of the tables among these."""
    return [line for line in shown.splitlines() if line in ("Summary", "Paired comparisons with vanilla")]


def test_tables_are_printed_as_asked_for_and_nothing_is_written_again(run: Path, call: Call, drawn: list[Any]) -> None:
    call(run)
    before = times(run)

    printed = {names: titles(call(run, "--tables", names)[1]) for names in ("paired", "paired,summary", "all")}

    both = ["Summary", "Paired comparisons with vanilla"]
    assert printed == {"paired": both[1:], "paired,summary": both[::-1], "all": both}
    assert times(run) == before


def test_a_table_to_be_printed_is_made_whatever_else_is(run: Path, call: Call, drawn: list[Any]) -> None:
    _, shown, _ = call(run, "--table", "summary", "--tables", "paired:baseline=blur")

    assert "Paired comparisons with blur" in shown
    assert {"tables/summary.md", "tables/paired-baseline=blur.md"} <= times(run).keys()


def test_a_table_to_be_printed_that_cannot_be_made_is_named(run: Path, call: Call, drawn: list[Any]) -> None:
    code, shown, said = call(run, "--tables", "table6,paired")

    assert (code, titles(shown)) == (1, ["Paired comparisons with vanilla"])
    assert "not made, for want of what they show: table6." in said


def test_the_caption_is_short_on_the_terminal_and_whole_in_the_file(
    run: Path, call: Call, drawn: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    _, shown, _ = call(run)

    shown, file = " ".join(shown.split()), run / "tables" / "summary.md"
    assert "Hardware: CPU" in file.read_text()
    assert "Hardware" not in shown
    assert "[95 % interval]. Test images: cifar10, n = 20." in shown
    assert f"In full: {file}" in shown


def test_what_is_incomplete_or_left_out_is_said_on_the_terminal_too(run: Path, call: Call, drawn: list[Any]) -> None:
    note_plan(run, Plan(0.0, (), (PlannedJob("clean", ("never recorded",)),)))
    record(run, "vanilla", weights="new")

    _, shown, _ = call(run)

    shown = " ".join(shown.split())
    assert "Incomplete: 0 of 1 planned cells of run." in shown
    assert "1 cell is left out, replaced by later ones of the same settings." in shown


def test_without_and_with_preprocessing_stand_side_by_side_where_that_saves_lines(
    tmp_path: Path, call: Call, drawn: list[Any]
) -> None:
    run = tmp_path / "run"
    for suite, preprocess in itertools.product(("clean", "low_resolution"), ("none", "blur")):
        record(run, "blur", suite=suite, condition=suite, preprocess=preprocess, wrong=3 if preprocess == "blur" else 5)

    _, shown, _ = call(run)

    lines = [line.split() for line in shown.splitlines()]
    assert ["measure", "without", "with"] in lines
    assert ["clean", "accuracy", "75.0", "[53.1,", "88.8]", "85.0", "[64.0,", "94.8]"] in lines


def test_one_defense_is_told_that_a_comparison_needs_a_second(tmp_path: Path, call: Call, drawn: list[Any]) -> None:
    said = {
        name: call(record(tmp_path / name.partition("@")[0], name))[2].splitlines()[-1]
        for name in ("blur", "vanilla", "median@epoch=1")
    }

    advice = "next: a comparison needs a second defense: run or load another into the same --out: --defense"
    assert said == {
        "blur": f"{advice} vanilla",
        "vanilla": f"{advice} NAME (names: python -m harness list defenses)",
        "median@epoch=1": f"{advice} vanilla",
    }


def test_networks_trained_differently_and_preprocessed_differently_are_said_so(
    tmp_path: Path, call: Call, drawn: list[Any]
) -> None:
    run = tmp_path / "run"
    for defense, epochs in (("vanilla", 1), ("blur", 2)):
        for preprocess in ("none", "blur" if defense == "blur" else "median"):
            record(run, defense, epochs=epochs, altered=True, preset="quick", preprocess=preprocess)

    shown = " ".join(call(run)[1].split())

    assert "altered quick preset, 1 epoch for vanilla" in shown
    assert "altered quick preset, 2 epochs for blur" in shown
    assert "Preprocessing: each defense's own." in shown


def test_what_attacks_warned_of_is_said_beside_the_robust_accuracies(
    tmp_path: Path, call: Call, drawn: list[Any]
) -> None:
    attacked = {"suite": "adversarial", "condition": "fgsm", "threat": "bare", "attack": "fgsm", "epsilon": 8 / 255}
    details = Details(flags=("it is odd",))
    run = record(tmp_path / "run", "vanilla", **attacked, norm="Linf", epsilon_space="pixel", details=details)

    assert "Warnings of attacks: “it is odd” for vanilla." in " ".join(call(run)[1].split())


def test_with_two_defenses_the_next_command_compares_them(run: Path, call: Call, drawn: list[Any]) -> None:
    said = call(run)[2].splitlines()[-1]

    assert said == f"next: python -m harness report {run} --tables paired (or all) to compare defenses"
    assert call(run, "--tables", "paired")[2].splitlines()[-1].endswith("--tables all to print every table")
    assert "next:" not in call(run, "--tables", "all")[2]
