import pytest
from support.page_samples import Recorder, data_of, scores

from harness.records.schema import Details
from reports import build
from reports.page import build_page

SENTENCE = "Smoothing left unchanged (level unreachable): 400 of 400 images under scale=1/2, scale=1/4."


def recorded(**by_condition):
    """A recorder of two defenses at a low resolution: condition = images that smoothing left as they were."""
    recorder = Recorder()
    for defense in ("vanilla", "virolbi_fixed"):
        for condition, left in by_condition.items():
            outcomes = {"unreachable": left, "reached": 200 - left, "iterations": 9000}
            given = {"suite": "low_resolution", "condition": condition, "defense": defense}
            recorder.add(0.5, **given, details=Details())
            recorder.add(0.5, **given, preprocess="virolbi", details=Details(outcomes=outcomes))
    return recorder


@pytest.mark.parametrize("name", ["summary", "table3"])
def test_captions_say_where_smoothing_changed_nothing(name):
    recorder = recorded(**{"scale=1/2": 200, "scale=1/4": 200, "scale=1/8": 10})

    (table,) = build(recorder.cells(), [name])

    assert SENTENCE in table.caption


def test_captions_do_not_mention_a_few_images():
    (table,) = build(recorded(**{"scale=1/2": 10}).cells(), ["summary"])

    assert "unchanged" not in " ".join(table.caption)


def test_many_conditions_are_counted_in_a_caption():
    recorder = recorded(**{f"scale=1/{place}": 200 for place in range(2, 12)})

    (table,) = build(recorder.cells(), ["summary"])

    assert "scale=1/6, scale=1/7 and 4 more." in " ".join(table.caption)


def test_the_leaderboard_has_the_counts_beside_the_number():
    data = data_of(build_page(recorded(**{"scale=1/2": 150, "scale=1/4": 50}).collection(), tables=()))

    beside = {(key[3], column["label"]): numbers[8:] for key, column, numbers in scores(data) if key[2] == "vanilla"}

    assert beside == {
        **{("", label): [] for label in ("mean", "scale=1/2", "scale=1/4")},
        ("virolbi", "mean"): [200, 400],
        ("virolbi", "scale=1/2"): [150, 200],
        ("virolbi", "scale=1/4"): [50, 200],
    }
