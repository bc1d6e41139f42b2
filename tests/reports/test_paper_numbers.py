import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.record_samples import make_record

from reports.paper import numbers as paper
from reports.paper.numbers import FAMILIES, Position, paper_number, severity_difference

PLAIN = {"suite": "corruption", "condition": "gaussian_noise", "severity": 1, "source": "official"}
NOISE = Position((1,), "gaussian_noise")
IMAGENET = {"dataset": "imagenet100", "family": "imagenet100", "backbone": "resnet50:pretrained=true"}


def record(**changed):
    return make_record("0", np.arange(10) < 5, **{**PLAIN, **changed})


def beside(position=NOISE, **changed):
    return paper_number([record(**changed)], position)


@pytest.mark.parametrize(
    ("changed", "accuracy"),
    [
        ({}, 45.90),
        ({"preprocess": "virolbi"}, 72.57),
        ({"defense": "blur", "preprocess": "blur"}, 61.91),
        ({"backbone": "vit_tiny:pretrained=true"}, 58.75),
        ({**IMAGENET, "defense": "virolbi_fixed:level=0.3", "preprocess": "virolbi:level=0.3"}, 45.39),
    ],
)
def test_the_papers_own_setting_has_its_number_and_no_difference(changed, accuracy):
    assert beside(**changed) == (accuracy, ())


@pytest.mark.parametrize(
    ("changed", "difference", "accuracy"),
    [
        ({"backbone": "resnet_mid"}, "backbone", 45.90),
        ({"defense": "virolbi_iterative_stopped", "preprocess": "virolbi"}, "start", 78.46),
        (
            {**IMAGENET, "defense": "virolbi_iterative_stopped:level=0.3", "preprocess": "virolbi:level=0.3"},
            "start",
            48.15,
        ),
        ({"backbone": "resnet_mid", "dataset": "imagenet100", "family": "imagenet100"}, "backbone", 40.31),
        ({"backbone": "timm:resnet18,pretrained=true"}, "backbone", 45.90),
        ({"backbone": "vit_tiny:pretrained=true,drop=0.1"}, "backbone", 58.75),
        ({"backbone": "vit_tiny"}, "pretraining", 58.75),
        ({"backbone": "resnet18:pretrained=true"}, "pretraining", 45.90),
        ({**IMAGENET, "backbone": "resnet50"}, "pretraining", 40.31),
        ({"dataset": "cifar10-jpeg"}, "data", 45.90),
        ({"preset": "quick"}, "training", 45.90),
        ({"preset": ""}, "training", 45.90),
        ({"altered": True}, "training", 45.90),
        ({"source": "generated"}, "corruptions", 45.90),
        ({"epsilon_space": "pixel"}, "epsilon", 45.90),
        ({"preprocess": "virolbi:nu=16"}, "preprocessing", 72.57),
        ({"preprocess": "blur"}, "preprocessing", 72.57),
        ({"defense": "blur", "preprocess": "blur:sigma=3"}, "preprocessing", 61.91),
        ({"defense": "virolbi_iterative", "preprocess": "virolbi"}, "end", 78.46),
    ],
)
def test_another_setting_has_the_number_and_its_difference(changed, difference, accuracy):
    assert beside(**changed) == (accuracy, (difference,))


def test_a_transformer_from_scratch_differs_in_network_and_weights():
    assert beside(backbone="vit_tiny:native=true") == (58.75, ("backbone", "pretraining"))


def test_every_difference_can_be_explained():
    changed = {"dataset": "x", "backbone": "x", "preset": "x", "epsilon_space": "pixel", "preprocess": "x"}
    everything = beside(**changed, source="generated", defense="virolbi_iterative")

    assert set(everything.differences) | {"pretraining", "severities", "radius", "start"} == set(paper.DIFFERENCES)


@pytest.mark.parametrize(
    "changed",
    [
        {"family": "", "dataset": "shapes"},
        {"defense": "virolbi_fixed:nu=16"},
        {"defense": "virolbi_fixed:level=0.3"},
        {**IMAGENET, "defense": "virolbi_fixed"},
        {"defense": "jpeg"},
        {"backbone": "vit_tiny:pretrained=true", "defense": "tv_layer"},
        {"backbone": "vit_tiny:pretrained=true", "position": Position((5,), "sparsity=1.0")},
        {"backbone": "resnet50:pretrained=true"},
        {"position": Position((1,), "fog")},
        {"position": Position((2,), "gaussian_noise")},
    ],
)
def test_what_the_paper_did_not_measure_has_no_number(changed):
    assert beside(**changed) is None


@pytest.mark.parametrize("source", ["generated", "generated, then JPEG of quality 85", "generated, without JPEG"])
def test_generated_corruptions_of_every_kind_differ_from_the_published_files(source):
    assert beside(source=source).differences == ("corruptions",)


def test_the_clean_accuracy_of_iterative_is_of_the_training_that_goes_on_to_08():
    position = Position((5, 6), "sparsity=0.3..0.8")

    assert beside(position, defense="virolbi_iterative") == (94.54, ())
    assert beside(Position((5,), "sparsity=..0.6"), defense="virolbi_iterative_stopped") is None


def test_a_table_that_lacks_a_number_gives_way_to_the_next():
    position = Position((2, 8), "eps=8/255")

    assert beside(position, defense="tv_layer") == (43.57, ())
    assert beside(position, defense="virolbi_fixed") == (21.04, ())


def test_where_the_paper_is_silent_its_number_counts_as_unpreprocessed():
    position = Position((3,), "scale=1/2")

    assert beside(position) == (38.50, ())
    assert beside(position, preprocess="virolbi") is None


@pytest.mark.parametrize(
    ("family", "severities", "differences"),
    [
        ("cifar10", (1, 2, 3, 4, 5), []),
        ("cifar10", (1, 2), ["severities"]),
        ("imagenet100", (1, 2), []),
        ("imagenet100", (1, 2, 3, 4, 5), ["severities"]),
    ],
)
def test_the_paper_used_five_severities_and_two_on_imagenet(family, severities, differences):
    cells = [record(family=family, severity=severity) for severity in severities]

    assert severity_difference(cells) == differences


def test_the_papers_numbers_are_all_shipped():
    path = Path(paper.__file__).parent / "data" / "paper_tables.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))

    counts = Counter(row["table"] for row in rows)
    assert counts == {"1": 138, "2": 96, "3": 48, "4": 32, "5": 8, "6": 5, "8": 18}
    assert {row["dataset"] for row in rows} == set(FAMILIES)
    assert all(0 <= float(row["accuracy"]) <= 100 for row in rows)
