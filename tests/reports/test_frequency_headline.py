"""How the frequency suite is summed up: by its parts at the headline's radius, never by a mean over both."""

import pytest
from support.page_samples import Recorder, data_of, scores

from reports import build
from reports.page import build_page


def recorded(*radii):
    """A recorder of both parts at these radii, of clean images, and of a corruption."""
    recorder = Recorder()
    recorder.add(0.8)
    for radius in radii:
        for part, accuracy in (("low", 0.3 + radius / 40), ("high", 0.6 - radius / 40)):
            recorder.add(accuracy, suite="frequency", condition=f"{part} r={radius}")
    return recorder


def summed_up(recorder):
    (table,) = build(recorder.cells(), ["summary"])
    return {row.labels[1]: row.entries[0].value for row in table.rows}


def on_the_page(recorder):
    data = data_of(build_page(recorder.collection(), tables=()))
    return [(column["label"], column["summary"]) for column in data["columns"] if column["group"] == "Frequency"]


def test_the_summary_has_both_parts_at_the_headlines_radius_instead_of_a_mean():
    recorder = recorded(4, 6, 16)
    right = {cell.condition: cell.n_correct / 2 for cell in recorder.cells()}

    assert summed_up(recorder) == {
        "clean accuracy": right["clean"],
        "high frequencies r=6": pytest.approx(right["high r=6"]),
        "low frequencies r=6": pytest.approx(right["low r=6"]),
    }


def test_the_summary_has_a_mean_where_the_headlines_radius_was_not_run():
    assert list(summed_up(recorded(4, 8))) == ["clean accuracy", "frequency mean"]


def test_parameters_of_the_suite_are_said():
    recorder = recorded()
    recorder.add(0.5, suite="frequency:limit=200", condition="low r=6")

    assert list(summed_up(recorder)) == ["clean accuracy", "low frequencies r=6 (limit=200)"]


def test_the_leaderboard_has_the_same_summaries():
    low_and_high = [("high r=6", True), ("low r=6", True), ("high r=4", False), ("low r=4", False)]

    assert on_the_page(recorded(4, 6)) == low_and_high
    assert ("mean", True) in on_the_page(recorded(4, 8))


def test_the_leaderboards_summaries_are_the_summarys_numbers():
    recorder = recorded(4, 6, 16)

    data = data_of(build_page(recorder.collection(), tables=()))

    shown = {numbers[0] for _, column, numbers in scores(data) if column["summary"]}
    assert shown == {round(value, 1) for value in summed_up(recorder).values()}
