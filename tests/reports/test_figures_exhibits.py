"""Figures drawn from exhibits: all that were made are drawn, nothing is invented where something is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.explained import explain_context, make_photographs, make_run, save_network

from harness.errors import UserError
from harness.explain.compute import complete
from harness.files.figures import save_figure
from harness.records.exhibits import Exhibit, Exhibits
from harness.registry import exhibits, figures
from reports.figures import gallery
from reports.figures.frequency import high_to_low, radial_mean, spread_epochs
from reports.figures.image_grid import as_heat, broken, gray, picture, spoken

NAMES = ("figure1a", "figure1b", "figure2a", "figure2b", "figure2c", "figure3", "figure5", "figure6")
EXHIBITS = [f"{name}:size=16" if name == "photograph_path" else name for name in exhibits.names()]


def collection(*runs: Path) -> Any:
    """As much of a collection as these figures look at."""
    return SimpleNamespace(exhibits=Exhibits(runs))


def texts(figure: Any) -> list[str]:
    found = [[axes.get_title(), axes.get_xlabel(), axes.get_ylabel()] for axes in figure.axes]
    return [text for three in found for text in three if text]


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("explained")
    given = explain_context(make_run(folder / "run"), photographs=make_photographs(folder / "pictures"))
    outcome = complete([exhibits.create(name) for name in EXHIBITS], given)
    assert not outcome.missing
    return collection(folder / "run")


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_drawn_the_same_twice_and_says_what_it_shows(name: str, explained: Any, tmp_path: Path) -> None:
    maker = figures.create(name)

    twice = [save_figure(maker.draw(explained), tmp_path / stem) for stem in ("first", "second")]

    for one, other in zip(*twice, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert maker.caption(explained).endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_without_its_exhibit_a_figure_is_not_drawn(name: str, tmp_path: Path) -> None:
    assert figures.create(name).draw(collection(tmp_path)) is None


def test_a_path_names_level_iteration_and_support(explained: Any) -> None:
    shown = texts(figures.create("figure6").draw(explained))
    arrays = explained.exhibits["photograph_path"].arrays

    assert f"t = {arrays['iterations'][0, 0]:,}, {arrays['edges'][0, 0]:,} edges" in shown
    assert f"the image itself ({arrays['level'][1, -1]:.3f})" in shown
    assert {"level 0.2", "level 1.0", "sea lion", "flat"} <= set(shown)


def test_wrong_answers_are_marked_and_dollars_shown_as_they_are(explained: Any) -> None:
    exhibit = explained.exhibits["relevance"]
    figure = figures.create("figure3").draw(explained)

    place = [model["name"] for model in exhibit.metadata["models"]].index("vanilla")
    answers = [exhibit.metadata["classes"][answer] for answer in exhibit.arrays["predicted"][place, 0, :3]]
    marks = ["✓" if answer == name else "✗" for answer, name in zip(answers, exhibit.metadata["names"], strict=False)]
    shown = texts(figure)
    expected = [f"{mark} {answer}".replace("$", r"\$") for mark, answer in zip(marks, answers, strict=True)]
    assert [text for text in shown if text[0] in "✓✗"][:3] == expected
    assert {"✓", "✗"} == set(marks)
    assert r"e\$el" in shown


def test_a_defense_without_a_network_is_not_drawn(explained: Any) -> None:
    assert figures.create("figure1b:defense=blur").draw(explained) is None
    assert "Network: vanilla, resnet_small." in figures.create("figure1b").caption(explained)
    assert "Network: virolbi_iterative, resnet_small." in figures.create("figure1b:defense=virolbi_iterative").caption(
        explained
    )


@pytest.mark.parametrize("name", ["figure1b", "figure3"])
def test_every_defense_that_was_explained_has_its_page_vanilla_first(name: str, explained: Any) -> None:
    captions = [each.caption for each in gallery.draw(explained, [name])]

    networks = [caption.rpartition("Network: ")[2] for caption in captions]
    assert networks == ["vanilla, resnet_small.", "virolbi_iterative, resnet_small."]
    assert len(gallery.draw(explained, [f"{name}:defense=virolbi_iterative"])) == 1


def test_relevance_warns_of_the_networks_own_grid(explained: Any) -> None:
    assert "A regular grid in it is not the image's" in figures.create("figure3").caption(explained)
    assert "grid" not in figures.create("figure1b").caption(explained)


def test_an_epoch_that_was_not_kept_stays_empty(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    save_network(run, "vanilla.epoch=1.pt", "vanilla", dataset="another")
    complete([exhibits.create("feature_spectra")], explain_context(run))

    figure = figures.create("figure2b").draw(collection(run))

    drawn = [len(axes.images) for axes in figure.axes[:4]]
    assert drawn == [0, 1, 1, 1]


def test_maps_of_frequencies_rise_upwards_and_name_both_axes(explained: Any) -> None:
    figure = figures.create("figure2c").draw(explained)

    first = figure.axes[0]
    assert first.get_ylim()[0] < first.get_ylim()[1]
    assert first.get_xlabel() == first.get_ylabel() == "periods per image"
    assert first.images[0].origin == "lower"


def test_the_method_behind_a_map_is_said(explained: Any) -> None:
    exhibit = explained.exhibits["relevance"]
    models = [{**one, "method": "integrated gradients"} for one in exhibit.metadata["models"]]
    other = SimpleNamespace(
        exhibits={"relevance": Exhibit("relevance", exhibit.arrays, exhibit.metadata | {"models": models})}
    )

    assert "LRP (ε rule" in figures.create("figure3").caption(explained)
    assert "in place of LRP, which has no sound rules" in figures.create("figure3").caption(other)


@pytest.mark.parametrize("name", ["figure1a:row=0", "figure2b:columns=0", "figure3:samples=0", "figure5:columns=0"])
def test_a_parameter_out_of_range_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"must be 1 or more|counts from 1"):
        figures.create(name)


def test_heat_keeps_what_is_positive_up_to_its_largest() -> None:
    assert np.array_equal(as_heat(np.array([[-2.0, 1.0, 4.0]])), [[0, 0.25, 1]])
    assert np.array_equal(as_heat(-np.ones((2, 2))), np.zeros((2, 2)))
    assert as_heat(np.arange(101.0), largest=0.5)[50:].min() == 1


def test_pictures_are_shown_in_colour_or_in_gray() -> None:
    assert picture(np.full((3, 2, 4), 255, np.uint8)).shape == (2, 4, 3)
    assert picture(np.array([[[1.5, -1.0]]])).tolist() == [[1, 0]]
    assert gray(np.ones((2, 2, 3))) == pytest.approx(np.ones((2, 2)))


def test_long_names_are_shortened_or_broken() -> None:
    assert spoken("n02077923_sea_lion") == "sea lion"
    assert spoken("x" * 30) == "x" * 25 + "…"
    assert broken("virolbi_fixed:nu=16,level=0.5") == "virolbi_fixed:\nnu=16,\nlevel=0.5"
    assert broken("virolbi_iterative") == "virolbi_iterative"


def test_epochs_are_spread_with_the_first_and_the_last() -> None:
    models = [{"epoch": epoch} for epoch in (*range(1, 11), 10, None)]

    assert spread_epochs(models, 3) == [1, 5, 10]
    assert spread_epochs(models, 20) == list(range(1, 11))


def test_radial_means_and_shares_follow_the_radius() -> None:
    rows, columns = np.mgrid[-4:4, -4:4]
    radius = np.hypot(rows, columns)

    frequency, mean = radial_mean(np.rint(radius))
    assert np.array_equal(frequency, mean)
    assert high_to_low(np.where(radius >= 2, 3.0, 2.0)) == 1.5


def test_figures_are_drawn_without_loading_torch(explained: Any) -> None:
    folder = explained.exhibits.path("relevance").parents[1]
    code = (
        "import sys; from types import SimpleNamespace; from harness.records.exhibits import Exhibits; "
        "from harness.registry import figures; "
        f"shown = SimpleNamespace(exhibits=Exhibits([{str(folder)!r}])); "
        f"assert all(figures.create(name).draw(shown) for name in {NAMES!r}); sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
