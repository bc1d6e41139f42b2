"""Figures from records: what is drawn is what the tables say, the same bytes from the same records."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from support.figure_samples import ODD, attacks, cell, collection, drawn, everything, is_mark, lines, noise

from harness.errors import UserError
from harness.records.schema import Details
from harness.registry import figures as registered
from reports import build
from reports.figures import gallery, style
from reports.paper.numbers import DEFENSES


def texts(figure):
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


# What is drawn


def test_severity_draws_the_cells_accuracies_from_the_clean_images_on():
    rows = [cell(0.9), *noise(0.8), cell(0.7, preprocess="virolbi"), *noise(0.75, preprocess="virolbi")]

    (axes,) = drawn(rows, "severity").figure.axes

    assert lines(axes) == {("#000000", False): [90, 75, 70, 65, 60, 55], ("#000000", True): [70, 70, 65, 60, 55, 50]}
    assert axes.get_title(loc="left") == "gaussian_noise"


def test_clean_accuracy_on_other_images_is_not_severity_0():
    (axes,) = drawn([cell(0.9, n_images=50), *noise(0.8)], "severity").figure.axes

    assert lines(axes) == {("#000000", False): [75, 70, 65, 60, 55]}


def test_bars_are_the_intervals_of_the_tables():
    rows = [cell(0.5, suite="low_resolution", condition="scale=1/2"), *noise(0.8)]
    made = collection(rows)
    (table,) = build(made.cells, ["summary"])
    (figure,) = [each.figure for each in gallery.draw(made, ["overview"])]
    (axes,) = figure.axes

    bars = [container.lines[2][0].get_segments()[0][:, 0] for container in axes.containers]

    estimates = [row.entries[0] for row in table.rows]
    assert np.allclose(sorted(map(tuple, bars)), sorted((each.low, each.high) for each in estimates))


def test_over_seeds_the_mean_is_drawn_with_its_deviation():
    rows = [row for seed, accuracy in enumerate((0.5, 0.6)) for row in noise(accuracy, seed=seed)]

    (axes,) = drawn(rows, "severity").figure.axes
    (bar, *_) = axes.containers[0].lines[2][0].get_segments()

    assert lines(axes)["#000000", False] == [50, 45, 40, 35, 30]
    assert np.ptp(bar[:, 1]) == pytest.approx(2 * np.std([45, 55], ddof=1))


def test_the_overview_shows_what_the_summary_says():
    made = collection(everything())
    (table,) = build(made.cells, ["summary"])
    values = sorted(entry.value for row in table.rows for entry in row.entries if entry is not None)

    figures = [each.figure for each in gallery.draw(made, ["overview"])]

    points = [float(line.get_xdata()[0]) for figure in figures for line in figure.axes[0].get_lines() if is_mark(line)]
    assert sorted(points) == pytest.approx(values)


def test_epsilon_has_a_panel_per_threat_and_attack_and_a_line_per_defense():
    rows = [row for defense in ("vanilla", "pni") for row in attacks(0.5, defense=defense, preprocess="virolbi")]
    rows += attacks(0.6, threat="bare", names=("pgd",)) + attacks(0.1, names=("square",), radii=(8,))

    figure = drawn(rows, "epsilon").figure

    assert [axes.get_title(loc="left") for axes in figure.axes] == ["bare: pgd", "adaptive: fgsm", "adaptive: pgd"]
    assert len(lines(figure.axes[1])) == 2
    assert lines(figure.axes[0]) == {("#000000", False): [56, 52]}


def test_masking_has_a_panel_per_network_and_a_line_per_attack():
    rows = [row for seed in (0, 1) for row in attacks(0.5, suite="masking", preprocess="virolbi", seed=seed)]
    rows += attacks(0.4, names=("square:queries=9",), radii=(8,), suite="masking", preprocess="virolbi")

    figure = drawn(rows, "masking").figure

    assert [len(lines(axes)) for axes in figure.axes] == [3, 2]


def test_level_joins_what_differs_in_the_level_alone_and_ends_at_vanilla():
    rows = [cell(0.9), cell(0.8, defense="virolbi_fixed"), cell(0.6, defense="virolbi_fixed:level=0.4")]
    rows += [cell(0.7, preprocess="virolbi"), cell(0.5, preprocess="virolbi:level=0.3"), cell(0.2, defense="blur")]

    training, test = drawn(rows, "level").figure.axes

    blue = style.defense_style(["virolbi_fixed"])["virolbi_fixed"].colour.lower()
    assert lines(training)[blue, False] == [60, 80, 90]
    assert lines(training)["#8a8a8a", True] == [85.24, 92.47, 93.82, 94.53, 94.78, 95.38, 95.29]
    assert lines(test) == {("#000000", False): [90], ("#000000", True): [50, 70]}


def test_one_level_is_no_curve():
    assert not gallery.draw(collection([cell(), cell(defense="virolbi_fixed")]), ["level"])


def test_cost_is_the_time_of_preprocessing_and_prediction_per_image():
    (axes,) = drawn([cell(0.8), *([cell(0.2, defense="pni", details=Details())])], "cost").figure.axes

    assert [float(line.get_xdata()[0]) for line in axes.get_lines() if is_mark(line)] == [pytest.approx(4.0)]
    assert axes.get_xscale() == "log"


def test_times_of_another_device_are_left_out_and_said_to_be():
    made = collection([cell(0.8), *noise(), cell(0.7, defense="pni", device="another")])

    (cost,) = gallery.draw(made, ["cost"])

    assert "pni" not in texts(cost.figure)
    assert "1 cells timed on other devices do not count" in cost.caption
    assert "on one device, a CPU." in cost.caption
    (alone,) = gallery.draw(collection([cell(0.8)]), ["cost"])
    assert "on one device." in alone.caption  # which is named once, with the hardware of all
    assert alone.caption.count("a CPU") == 1


def test_a_mean_over_fewer_conditions_is_faint():
    rows = [*noise(), *noise(defense="pni")[:2]]

    (axes,) = drawn(rows, "overview").figure.axes

    assert sorted(line.get_alpha() for line in axes.get_lines() if is_mark(line)) == [style.FAINTNESS, 1.0]
    assert "Faint marks" in drawn(rows, "overview").caption


# Many, odd, none


def test_what_does_not_fit_on_a_page_is_on_the_next_and_captions_say_so():
    rows = [row for number in range(14) for row in noise(condition=f"corruption{number:02d}")]

    first, second = gallery.draw(collection(rows), ["severity"])

    assert (first.name, second.name) == ("severity", "severity:page=2")
    assert [len(each.figure.axes) for each in (first, second)] == [12, 2]
    assert "Panels 1–12 of 14." in first.caption
    assert "Panels 13–14 of 14." in second.caption


def test_every_data_set_and_backbone_has_a_page_of_its_own():
    rows = [*noise(), *noise(dataset="shapes", family=""), *noise(backbone="vit_tiny")]

    made = gallery.draw(collection(rows), ["severity"])

    assert [each.figure.get_suptitle() for each in made] == [
        "cifar10, resnet18",
        "cifar10, vit_tiny",
        "shapes, resnet18",
    ]


def test_of_many_defenses_the_most_complete_are_drawn_and_the_others_named():
    names = [f"defense{number:03d}" for number in range(60)]
    rows = [row for place, name in enumerate(names) for row in noise(defense=name)[: 5 if place >= 52 else 4]]

    made = drawn(rows, "severity")

    assert set(names[52:]) <= texts(made.figure)
    assert not texts(made.figure) & set(names[:52])
    assert "left out: defense000" in made.caption
    assert "and 40 more" in made.caption


def test_of_several_preprocessors_of_a_defense_two_are_named_and_drawn():
    kinds = ("virolbi", "virolbi:level=0.3", "virolbi:level=0.5", "jpeg")
    rows = [row for kind in (*kinds, "none") for row in noise(preprocess=kind)]

    figure = drawn([*rows, *noise(defense="blur", preprocess="blur")], "severity").figure

    assert {"with jpeg", "with virolbi", "with preprocessing", "without preprocessing"} <= texts(figure)
    assert "with virolbi:level=0.3" not in texts(figure)


@pytest.mark.parametrize("name", ["severity", "overview", "cost", "epsilon", "masking"])
def test_odd_names_are_shown_as_they_are(name, tmp_path):
    """Letters that the font lacks among them, of which nobody is warned."""
    made = gallery.draw(collection(everything((*ODD, "🦎"))), [name])

    written = gallery.write(made, tmp_path)

    pictures = [ElementTree.parse(path) for path in written if path.suffix == ".svg"]
    shown = " ".join(
        "".join(text.itertext()) for tree in pictures for text in tree.iter("{http://www.w3.org/2000/svg}text")
    )
    assert all(odd in shown for odd in (*ODD, "🦎"))


@pytest.mark.parametrize("name", registered.names())
def test_what_was_not_run_has_no_figure(name):
    unrelated = collection([cell(suite="masking", condition="other", attack="landscape", details=Details())])

    assert registered.create(name).draw(unrelated) is None


def test_an_unknown_figure_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="severity"):
        gallery.draw(collection([cell()]), ["severty"])


def test_captions_say_from_what():
    made = drawn(everything(), "severity")

    for fact in (
        "cifar10, n = 100",
        "paper preset",
        "Seed 0.",
        "generated",
        "Severity 0",
        "Preprocessing: virolbi.",
        "a CPU",
    ):
        assert fact in made.caption
    assert "pixel space" in drawn(everything(), "epsilon").caption


# Looks


def test_a_defense_looks_the_same_whoever_else_is_there():
    alone, among = style.defense_style(["pni"]), style.defense_style(["awp", "pni", "jpeg", "pni:x=1"])

    assert alone["pni"] == among["pni"]


def test_seventy_defenses_look_different_in_colour_or_marker():
    names = [*DEFENSES, *(f"other{number}" for number in range(64))]

    assert len(set(style.defense_style(names).values())) == 70


def test_neighbouring_defenses_differ_in_marker_and_colour():
    looks = list(style.defense_style([*DEFENSES, *"abcdefgh"]).values())

    for first, second in itertools.pairwise(looks):
        assert first.colour != second.colour
        assert first.marker != second.marker


# Files

WRITE = """
import sys
sys.path.insert(0, "tests")
from pathlib import Path
from support.figure_samples import collection, everything
from reports.figures import gallery
gallery.write(gallery.draw(collection(everything())), Path(sys.argv[1]))
"""


def test_the_same_records_give_the_same_bytes_in_every_process(tmp_path):
    written = []
    for number, seed in enumerate(("0", "7")):
        folder = tmp_path / seed
        settings = tmp_path / f"matplotlibrc{number}"
        settings.write_text("font.size: 20\n" if number else "")
        given = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": ".", "MATPLOTLIBRC": str(settings)}
        subprocess.run([sys.executable, "-c", WRITE, folder], env=given, check=True, timeout=300)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})

    assert {Path(name).suffix for name in written[0]} == {".png", ".pdf", ".svg", ".md"}
    assert written[0] == written[1]


def test_writing_a_figure_again_gives_the_same_bytes(tmp_path):
    made = gallery.draw(collection(everything()), ["severity"])

    first = [path.read_bytes() for path in gallery.write(made, tmp_path / "a")]

    assert first == [path.read_bytes() for path in gallery.write(made, tmp_path / "b")]


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match="cannot be written"):
        gallery.write(gallery.draw(collection(noise()), ["severity"]), tmp_path / "file")
