"""What a table says about where its numbers come from: images, training, seeds, attacks."""

import subprocess
import sys

import numpy as np
import pytest
from support.record_samples import make_record
from support.report_samples import full_recording

from harness.attacks.gradient import PGD
from harness.config import DEFAULT_SUITES
from harness.records.schema import Details
from reports import Cells, build
from reports.formats.render import to_markdown
from reports.tables import summary

PLAIN = {"suite": "low_resolution", "condition": "scale=1/2", "preset": "quick"}
CLEAN = {"suite": "clean", "condition": "clean"}
ATTACK = {"suite": "adversarial", "condition": "pgd eps=8/255", "threat": "adaptive", "preprocess": "virolbi"} | {
    "attack": "pgd",
    "epsilon": 8 / 255,
    "epsilon_space": "pixel",
    "norm": "Linf",
    "n_images": 128,
}


def tables(*changes):
    """All tables of records that differ from the plain one by these changes, by name."""
    records = [record(f"{number:04d}", **{**PLAIN, **change}) for number, change in enumerate(changes)]
    return {table.name: table for table in build(Cells(records))}


def record(identity, n_images=200, n_correct=100, **given):
    return make_record(identity, np.arange(n_images) < n_correct, **given)


def caption(name, *changes):
    return " ".join(tables(*changes)[name].caption)


def headers(table):
    return [column.group for column in table.columns]


# Images


def test_other_images_of_the_same_name_stand_in_a_column_of_their_own():
    table = tables({"data": "a1b2c3d4"}, {"data": "5e6f7a8b", "n_correct": 150})["table3"]

    assert headers(table) == ["cifar10 (data 5e6f7a)", "cifar10 (data a1b2c3)"]
    assert [estimate.value for estimate in table.rows[0].entries] == [75.0, 50.0]
    assert "other images under the same name" in " ".join(table.caption)


@pytest.mark.parametrize("name", ["table3", "summary"])
def test_other_images_of_the_same_name_are_neither_compared_nor_averaged(name):
    changes = [{"n_correct": 150}, {"defense": "blur"}, {"seed": 1}]
    same = tables(*changes)[name].rows[0].entries
    apart = [{**change, "data": digest} for change, digest in zip(changes, "abc", strict=True)]
    other = tables(*apart)[name].rows[0].entries

    assert [(estimate.value, estimate.best) for estimate in same] == [(62.5, True), (50.0, False)]
    assert [(estimate.value, estimate.best) for estimate in other] == [(75.0, False), (50.0, False), (50.0, False)]


def test_a_network_on_other_images_replaces_none():
    table = tables({"data": "a1", "weights": "w1"}, {"data": "b2", "weights": "w2"})["table3"]

    assert headers(table) == ["cifar10 (data a1)", "cifar10 (data b2)"]


def test_digests_of_different_numbers_of_the_same_images_tell_nothing_apart():
    table = tables({**CLEAN, "data": "a1"}, {**ATTACK, "data": "b2"})["summary"]

    assert headers(table) == ["cifar10"]
    assert "data …" not in " ".join(table.caption)


# Seeds


def test_seeds_of_the_same_weights_count_once():
    made = tables(*({"seed": seed, "weights": weights} for seed, weights in enumerate(("w", "w", "v"))))["table3"]
    (estimate,) = made.rows[0].entries

    assert (estimate.seeds, estimate.expected_seeds) == (2, 2)
    assert "Seeds 0, 1 of vanilla have the same weights and count as one network." in made.caption
    assert "Seeds 0, 2." in made.caption


def test_a_single_network_under_two_seeds_has_no_deviation_over_seeds():
    both = tables({"weights": "w"}, {"seed": 1, "weights": "w", "condition": "scale=1/4"})["table3"]
    one = tables({"weights": "w"}, {"seed": 1, "weights": "w"})["table3"].rows[0].entries[0]

    assert [row.entries[0].value for row in both.rows] == [50.0, 50.0]
    assert (one.seeds, one.std) == (1, None)


def test_seeds_of_unknown_weights_count_each():
    assert tables({}, {"seed": 1})["table3"].rows[0].entries[0].seeds == 2


def test_a_mean_over_fewer_seeds_than_the_table_has_says_so():
    noise = {"suite": "corruption", "condition": "fog", "source": "official"}
    whole = [{**noise, "seed": seed, "severity": severity} for seed in (0, 1) for severity in (1, 2)]
    table = tables(*whole, {**noise, "seed": 2, "severity": 1})["table1"]

    assert "50.0 ± 0.0 (2 seeds)" in to_markdown(table)
    assert "(k seeds)" in " ".join(table.caption)


def test_a_suite_run_on_one_seed_of_several_says_so_in_the_summary():
    table = tables(*({**CLEAN, "seed": seed} for seed in range(3)), ATTACK)["summary"]

    assert [(row.entries[0].seeds, row.entries[0].expected_seeds) for row in table.rows] == [(3, 3), (1, 3)]


# Training


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "quick preset"),
        ({"epochs": 12, "train_images": 20_000, "amp": True}, "quick preset, 12 epochs on 20,000 images, bfloat16"),
        ({"epochs": 1, "train_images": 40}, "quick preset, 1 epoch on 40 images"),
        ({"preset": "paper", "altered": True, "epochs": 3}, "altered paper preset, 3 epochs"),
        ({"preset": ""}, "unknown preset"),
    ],
)
def test_the_caption_says_how_the_networks_were_trained(given, said):
    assert f"Training: {said}. " in caption("table3", given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ({"defense": "blur"}, {"defense": "pni", "epochs": 8}, {}),
            "12 epochs for blur, vanilla; P, 8 epochs for pni",
        ),
        (({}, {"dataset": "x", "epochs": 8}), "12 epochs for cifar10; P, 8 epochs for x"),
        (({}, {"backbone": "y", "epochs": 8}), "12 epochs for resnet18; P, 8 epochs for y"),
        (({}, {"seed": 1, "epochs": 8}), "12 epochs for seed 0; P, 8 epochs for seed 1"),
        (({}, {"preset": "paper", "epochs": 160}), "160 epochs; P, 12 epochs"),
    ],
)
def test_the_caption_says_whose_training_was_another(changes, said):
    shown = caption("table3", *({"epochs": 12, **change} for change in changes))

    assert said in shown.replace("quick preset", "P")


def test_a_quick_or_altered_training_is_never_the_papers_setting():
    trainings = [{"preset": "quick"}, {"preset": ""}, {"preset": "paper", "altered": True}, {"preset": "paper"}]
    papers = [tables(training)["table3"].rows[0].entries[0].paper for training in trainings]

    assert [paper.differences for paper in papers] == [("training",)] * 3 + [()]


def test_one_altered_training_among_the_seeds_is_enough():
    table = tables({"preset": "paper"}, {"preset": "paper", "seed": 1, "altered": True})["table3"]

    assert table.rows[0].entries[0].paper.differences == ("training",)


# The paper's numbers


def test_the_summary_says_that_the_paper_does_not_say_whether_it_preprocessed():
    assert "does not say whether it preprocessed" in caption("summary", CLEAN)
    assert "does not say whether it preprocessed" not in caption("summary", {})


def test_networks_with_parameters_stand_in_the_papers_order_beside_its_numbers():
    backbones = ("resnet_mid", "vit_tiny:pretrained=true", "resnet18")
    table = tables(*({"backbone": backbone, "preset": "paper"} for backbone in backbones))["table3"]

    assert [row.labels[0] for row in table.rows] == ["resnet18", "vit_tiny:pretrained=true", "resnet_mid"]
    papers = [row.entries[0].paper for row in table.rows]
    assert papers == [(38.50, ()), (42.27, ()), (38.50, ("backbone",))]


# Attacks and preprocessing


def test_table_2_says_how_attacks_get_through_the_preprocessing():
    shown = caption(
        "table2",
        {**ATTACK, "gradient": "bpda"},
        {**ATTACK, "gradient": "exact", "defense": "blur", "preprocess": "blur:sigma=2"},
        {**ATTACK, "gradient": "bpda", "defense": "mine", "preprocess": "jpeg"},
        {**ATTACK, "gradient": "exact", "threat": "bare", "preprocess": "median"},
    )

    assert "adaptive attacks: BPDA for jpeg; BPDA through the frozen partition for virolbi; exact for blur." in shown


def test_table_2_says_over_how_many_gradients_a_step_is_averaged():
    assert "averaged per step: 10 for pni." in caption("table2", ATTACK, {**ATTACK, "defense": "pni", "draws": 10})
    assert "averaged" not in caption("table2", ATTACK)


def test_table_2_says_how_many_steps_pgd_takes():
    attacks = ("fgsm", "pgd", "pgd:steps=50", "pgd:relative_step=0.1")
    shown = caption("table2", *({**ATTACK, "attack": attack} for attack in attacks))

    assert "pgd: 20 steps of 0.25 ε; pgd:relative_step=0.1: 20 steps of 0.1 ε; pgd:steps=50: 50 steps" in shown
    assert f"pgd: {PGD().steps} steps of {PGD().relative_step} ε;" in shown


def test_a_radius_too_small_for_a_level_is_not_shown_as_none():
    table = tables({**ATTACK, "epsilon": 1e-9})["table2"]

    assert table.rows[0].labels[1] == "1e-09 pixel"


@pytest.mark.parametrize(("preprocess", "said"), [("virolbi", True), ("none", False)])
def test_table_4_says_that_preprocessing_is_given_clipped_parts(preprocess, said):
    part = {"suite": "frequency", "condition": "high r=6", "preprocess": preprocess}

    assert ("clipped to [0,1]" in caption("table4", part)) is said


# What tables need


def test_suites_stand_in_the_order_they_are_run_in():
    assert summary.ORDER == DEFAULT_SUITES


def test_tables_are_made_without_loading_torch():
    code = "import sys, reports; from harness.registry import tables; tables.names(); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Hardware


def test_the_caption_names_the_hardware_once_each():
    devices = [{"device": "x86_64 CPU", "defense": "blur"}, {"device": "Some GPU"}, {"device": "Some GPU", "seed": 1}]

    assert "Hardware: Some GPU; x86_64 CPU." in caption("table3", *devices)
    assert "Hardware" not in caption("table3", {})


def test_every_caption_says_what_its_numbers_are_from():
    made = build(full_recording(device="Some GPU").cells())

    assert {"table1", "table2", "table3", "table4", "table5", "table8", "summary", "paired", "mce", "claims"} <= {
        table.name for table in made
    }
    for table in made:
        said = " ".join(table.caption)
        for part in ("Test images: cifar10, n = 200.", "Training: paper preset.", "Seed 0.", "Hardware: Some GPU."):
            assert part in said, table.name
        if table.name in ("table2", "table8", "summary", "paired", "claims"):
            assert "normalized space" in said, table.name


# Iterative training


@pytest.mark.parametrize(
    ("defense", "said"),
    [
        (
            "virolbi_iterative:nu=4",
            "after the last level of its training, 0.8 (the paper's Appendix C: 0.8); the paper's",
        ),
        ("virolbi_iterative:end=0.6", "after the last level of its training, 0.6 (the paper's Appendix C: 0.8). "),
        ("virolbi_iterative_stopped", "training ends at the test level, as the paper's section 4 says"),
    ],
)
def test_a_caption_says_which_network_iterative_is_judged_by(defense, said):
    assert said in caption("table3", {"defense": defense})
    assert said not in caption("table3", {"defense": "virolbi_fixed"})


def test_a_network_kept_on_the_way_is_said_to_be_unfinished():
    def kept(epoch):
        details = Details(trained={"kept": "level=0.6", "epoch": epoch})
        return {"defense": "virolbi_iterative@level=0.6", "epochs": 12, "details": details}

    on_the_way, at_the_end = (caption("table3", kept(epoch)) for epoch in (8, 12))

    assert "virolbi_iterative@level=0.6 (epoch 8 of 12): kept before the learning rate had come down" in on_the_way
    assert "kept before" not in at_the_end


# Corrupted images


def test_captions_say_whether_corrupted_images_went_through_jpeg():
    noise = {"suite": "corruption", "condition": "gaussian_noise", "severity": 1}
    for source in ("generated, then JPEG of quality 85", "generated, without JPEG"):
        assert f"Corrupted images: {source}." in caption("table1", {**noise, "source": source})
