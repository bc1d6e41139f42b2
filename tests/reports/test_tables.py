"""Tables from records: what their numbers are, and how they are arranged."""

import dataclasses
import re
import statistics

import numpy as np
import pytest
from support.report_samples import N, Recording, estimates, full_recording, labels

from harness.errors import HarnessError, UserError
from harness.registry import tables as registered
from reports import Cells, build, write
from reports.formats.html import to_html
from reports.formats.render import to_markdown
from reports.paper.numbers import PaperNumber


@pytest.fixture
def recording():
    return Recording()


# What the numbers are


def test_a_mean_over_severities_weighs_each_the_same(recording):
    recording.noise(0.6)

    (estimate,) = estimates(recording.table("table1"), "gaussian_noise")

    assert estimate.value == pytest.approx(54.0)
    assert estimate.low < 54.0 < estimate.high
    assert (estimate.std, estimate.seeds, estimate.images, estimate.conditions) == (None, 1, N, 5)


def test_one_cell_has_wilsons_interval(recording):
    recording.add(0.5, suite="low_resolution", condition="scale=1/2")

    (estimate,) = estimates(recording.table("table3"), "1/2")

    assert (estimate.low, estimate.high) == pytest.approx((43.136, 56.864), abs=1e-3)


def test_seeds_give_mean_and_sample_deviation(recording):
    accuracies = [0.50, 0.55, 0.63]
    for seed, accuracy in enumerate(accuracies):
        recording.add(accuracy, seed=seed, suite="low_resolution", condition="scale=1/2")

    table = recording.table("table3")
    (estimate,) = estimates(table, "1/2")

    assert estimate.value == pytest.approx(100 * statistics.mean(accuracies))
    assert estimate.std == pytest.approx(100 * statistics.stdev(accuracies))
    assert "56.0 ± 6.6" in to_markdown(table)
    half = 4.302653 * 100 * statistics.stdev(accuracies) / 3**0.5  # Student's t of two degrees, from a printed table
    assert (estimate.low, estimate.high) == pytest.approx((estimate.value - half, estimate.value + half))
    assert f'title="95 % interval {estimate.low:.1f} to {estimate.high:.1f}">± 6.6' in to_html(table)
    assert "the wider of two: Student's t over the seeds' means" in " ".join(table.caption)
    assert "Seeds 0–2." in " ".join(table.caption)


def test_seeds_that_agree_leave_the_interval_of_the_images(recording):
    for seed in range(3):
        recording.add(0.5, seed=seed, suite="low_resolution", condition="scale=1/2")

    (estimate,) = estimates(recording.table("table3"), "1/2")

    assert estimate.std == 0
    assert estimate.low < 49 < 51 < estimate.high


def test_whether_the_papers_number_is_covered_minds_the_spread_of_trainings(recording):
    """Three networks of which the paper's might be one, though no resampling of images reaches it."""
    for seed, accuracy in enumerate((0.80, 0.85, 0.90)):
        recording.add(accuracy, seed=seed, n_images=10_000, suite="low_resolution", condition="scale=1/2")
    (estimate,) = estimates(recording.table("table3"), "1/2")

    covering = dataclasses.replace(estimate, paper=PaperNumber(estimate.value - 5))
    assert covering.covered


def test_only_seeds_with_all_conditions_are_averaged(recording):
    recording.noise(0.6, seed=0)
    recording.noise(0.9, seed=1, severities=(1,))

    (estimate,) = estimates(recording.table("table1"), "gaussian_noise")

    assert (estimate.value, estimate.seeds, estimate.std) == (pytest.approx(54.0), 1, None)


def test_robust_accuracy_is_the_worst_case_per_image(recording):
    for attack, accuracy in (("fgsm", 0.6), ("pgd", 0.4)):
        recording.attack(accuracy, attack=attack)
    survived = np.logical_and(*recording.outcomes.values())

    table = recording.table("table2")
    (worst,) = estimates(table, "worst case")
    (summary,) = estimates(recording.table("summary"), "robust, bare, 8/255 normalized")

    assert worst.value == summary.value == pytest.approx(100 * survived.mean())
    assert worst.value <= min(estimates(table, name)[0].value for name in ("fgsm", "pgd"))


def test_attacks_of_other_threat_models_and_radii_are_not_in_the_worst_case(recording):
    for attack in ("fgsm", "pgd"):
        recording.attack(0.8, attack=attack, threat="bare")
        recording.attack(0.1, attack=attack, threat="adaptive")
        recording.attack(0.1, attack=attack, threat="bare", epsilon=16)

    (bare,) = estimates(recording.table("table2"), "worst case", "8/255 normalized", "bare")

    assert bare.value > 50


def test_a_mean_over_fewer_conditions_says_so_and_cannot_be_best(recording):
    recording.noise(0.5)
    recording.noise(0.9, severities=(1, 2, 3), defense="blur")

    table = recording.table("table1")
    vanilla, blur = estimates(table, "gaussian_noise")

    assert (blur.conditions, blur.expected, blur.complete) == (3, 5, False)
    assert not blur.best
    assert not vanilla.best
    assert "(3/5)" in to_markdown(table)
    assert any("(k/m)" in sentence for sentence in table.caption)


def test_images_of_another_number_are_another_column(recording):
    recording.add(0.5, suite="low_resolution", condition="scale=1/2")
    recording.add(0.6, suite="low_resolution", condition="scale=1/2", n_images=50)

    table = recording.table("table3")

    assert [column.group for column in table.columns] == ["cifar10 (n = 50)", "cifar10 (n = 200)"]


def test_the_summary_takes_suites_of_different_sizes_into_one_column(recording):
    recording.add(0.8)
    recording.attack(0.3, suite="adversarial:limit=50", n_images=50)

    table = recording.table("summary")

    assert [column.group for column in table.columns] == ["cifar10"]
    assert [row.entries[0].images for row in table.rows] == [200, 50]


def test_the_summary_says_the_number_of_images_only_where_a_suite_has_several(recording):
    for dataset, images in (("cifar10", 200), ("cifar100", 100), ("shapes", 100), ("shapes", 50)):
        recording.add(0.8, dataset=dataset, n_images=images)

    assert [label[1] for label in labels(recording.table("summary"))] == [
        "clean accuracy",
        *("clean accuracy, n = 50", "clean accuracy, n = 100"),
    ]


def test_of_two_networks_the_one_recorded_last_counts(recording):
    recording.noise(0.9, weights="old")
    recording.noise(0.5, severities=(1, 2), weights="new")

    table = recording.table("table1")

    assert estimates(table, "gaussian_noise")[0].value == pytest.approx(47.0)
    assert any(sentence.startswith("5 cells") for sentence in table.caption)


def test_a_plugins_suite_appears_in_the_summary(recording):
    recording.add(0.5, suite="rotation", condition="10 degrees")
    recording.add(0.7, suite="rotation", condition="20 degrees")

    assert estimates(recording.table("summary"), "rotation mean")[0].value == pytest.approx(60.0)


# The best


def best(table, row=0):
    return [estimate.best if estimate else None for estimate in table.rows[row].entries]


def test_the_best_of_a_row_is_marked_within_its_data_set(recording):
    for dataset, accuracies in (("cifar10", (0.5, 0.7)), ("cifar100", (0.3, 0.2))):
        for defense, accuracy in zip(("vanilla", "blur"), accuracies, strict=True):
            recording.add(
                accuracy,
                dataset=dataset,
                family=dataset,
                defense=defense,
                suite="low_resolution",
                condition="scale=1/2",
            )

    table = recording.table("table3")

    assert best(table) == [False, True, True, False]


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((0.5,), [False]),
        ((0.5, 0.5), [False, False]),
        ((0.5, 0.5, 0.4), [True, True, False]),
        ((0.5, 0.5002, 0.4), [True, True, False]),
    ],
    ids=["one defense", "all tie", "a tie for the best", "equal as shown"],
)
def test_nobody_is_best_alone_or_when_all_tie(recording, accuracies, expected):
    for defense, accuracy in zip(("vanilla", "blur", "pni"), accuracies, strict=False):
        recording.add(accuracy, defense=defense, n_images=10_000)

    assert best(recording.table("summary")) == expected


# The paper beside


def test_the_papers_numbers_stand_beside_every_table():
    names = ["summary", "table1", "table2", "table3", "table4"]
    tables = {table.name: table for table in build(full_recording(seed=0).cells(), names)}
    beside = {
        name: [row.entries[0].paper.accuracy for row in table.rows if row.entries[0].paper]
        for name, table in tables.items()
    }

    assert beside == {
        "summary": [95.29],
        "table1": [45.90, 72.57, 59.08, 76.34],
        "table2": [37.95, 49.45],
        "table3": [23.33, 38.50],
        "table4": [41.05, 47.37],
    }
    assert all("arXiv 2409.18419" in " ".join(table.caption) for table in tables.values())
    assert "does not name" in " ".join(tables["table2"].caption)
    assert "does not say whether it preprocessed" in " ".join(tables["table3"].caption)


def test_a_dagger_is_explained_in_the_caption(recording):
    recording.noise(0.7, severities=(1, 2), source="generated")

    table = recording.table("table1")

    assert table.rows[0].entries[0].paper.differences == ("corruptions", "severities")
    assert "† The paper measured this with the published corrupted files, other severities" in " ".join(table.caption)


def test_without_the_papers_numbers_the_caption_does_not_speak_of_them(recording):
    recording.add(dataset="shapes", family=None, suite="low_resolution", condition="scale=1/2")

    assert not re.search("arXiv|paper (does|measured)|†", " ".join(recording.table("table3").caption))


# Arrangement


def test_defenses_stand_in_the_papers_order_variants_behind_their_base(recording):
    wanted = ["vanilla", "blur", "tv_layer", "pni", "virolbi_fixed", "virolbi_fixed:nu=4", "virolbi_fixed:nu=16"]
    wanted += ["virolbi_iterative", "awp", "jpeg"]
    for defense in sorted(wanted, reverse=True):
        recording.add(defense=defense)

    assert [column.name for column in recording.table("summary").columns] == wanted


def test_rows_stand_in_the_papers_order(recording):
    recording = full_recording()

    assert [label[1:] for label in labels(recording.table("table1"))] == [
        ("gaussian_noise", "without"),
        ("gaussian_noise", "with"),
        ("shot_noise", "without"),
        ("shot_noise", "with"),
    ]
    assert [label[1] for label in labels(recording.table("table3"))] == ["1/4", "1/4", "1/2", "1/2"]
    assert [label[1:3] for label in labels(recording.table("table4"))][::2] == [
        (radius, part) for radius in ("6", "4", "16") for part in ("high", "low")
    ]


def test_the_headline_radius_is_a_parameter_and_names_the_table():
    (table,) = build(full_recording().cells(), ["table4:radius=16"])

    assert table.name == "table4:radius=16"
    assert table.rows[0].labels[1] == "16"


def test_a_threat_model_is_a_block_of_rows(recording):
    recording.attack(threat="adaptive", preprocess="virolbi")
    recording.attack(threat="bare", preprocess="virolbi")
    recording.attack(threat="bare")

    assert [label[2:4] for label in labels(recording.table("table2"))] == [
        ("bare", "without"),
        ("bare", "with"),
        ("adaptive", "with"),
    ]


def test_several_preprocessors_of_a_defense_have_their_own_rows(recording):
    for preprocess in ("none", "virolbi", "virolbi:level=0.45"):
        recording.noise(0.5, preprocess=preprocess)

    assert [label[2] for label in labels(recording.table("table1"))] == [
        "without",
        "with virolbi",
        "with virolbi:level=0.45",
    ]


def test_sources_of_corrupted_images_are_never_averaged_together(recording):
    recording.noise(0.5, source="official")
    recording.noise(0.9, source="generated")

    table = recording.table("table1")

    assert [label[1] for label in labels(table)] == ["gaussian_noise (generated)", "gaussian_noise (official)"]
    assert estimates(table, "gaussian_noise (official)")[0].value == pytest.approx(44.0)


def test_captions_name_data_images_preset_seed_and_source():
    caption = " ".join(full_recording(dataset="cifar10-jpeg", preset="quick").table("table1").caption)

    for fact in (
        "cifar10-jpeg, n = 200",
        "Training: quick preset.",
        "Seed 0",
        "official",
        "severities 1–5",
        "blur for blur",
    ):
        assert fact in caption


def test_what_was_not_run_has_no_table(recording):
    recording.add(0.8)

    assert [table.name for table in build(recording.cells())] == ["summary"]


def test_every_table_is_found_by_its_name():
    assert {"summary", "table1", "table2", "table3", "table4"} <= set(registered.names())
    assert all(entry.summary for entry in registered)


# Files, determinism, bad input


def test_the_same_records_give_the_same_bytes_in_any_order(tmp_path):
    recording = full_recording()
    for seed, severity in enumerate((4, 2, 5, 3)):
        recording.noise(0.5, severities=(severity,), condition="fog", seed=seed)
        recording.add(0.1 * seed + 0.3, seed=seed, defense="pni")
    records = recording.records()

    first = write(build(Cells(records)), tmp_path / "a")
    second = write(build(Cells(records[::-1])), tmp_path / "b")

    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_no_cells_are_said_to_be_none():
    with pytest.raises(UserError, match="no recorded cells"):
        Cells([])


def test_outcomes_of_another_number_of_images_are_refused(recording):
    recording.noise()
    records = [dataclasses.replace(record, n_images=220) for record in recording.records()]

    with pytest.raises(HarnessError, match="outcomes of 220 images"):
        build(Cells(records))


def test_an_unknown_table_is_refused_with_the_known_ones(recording):
    recording.add()

    with pytest.raises(UserError, match="table1"):
        build(recording.cells(), ["tabel1"])


def test_the_summary_comes_first_then_the_papers_tables():
    names = [table.name for table in build(full_recording().cells())]

    assert names[:2] == ["summary", "table1"]
    assert names.index("claims") > max(place for place, name in enumerate(names) if name.startswith("table"))
