"""The figure of accuracy against ε: where its marks stand, and its reference without an attack."""

import math

import pytest
from support.figure_samples import attacks, cell, drawn, lines

from reports.figures.curves import Axis, dodged


@pytest.mark.parametrize("ticks", [(8, 16), (1, 2, 4, 8, 16, 32), (1, 4, 200)])
def test_marks_of_one_place_stand_apart_by_little_of_the_axis_however_few_its_ticks(ticks):
    axis = Axis("ε", {tick / 255: str(tick) for tick in ticks}, log=True)

    low, *_, high = (math.log(dodged(8 / 255, number, 6, axis)) for number in range(6))

    left, right = map(math.log, axis.limits)
    assert 0.03 < (high - low) / (right - left) < 0.07


def test_zero_stands_a_step_before_the_first_radius():
    axis = Axis("ε", {0.0: "0", 4.0: "4", 8.0: "8"}, log=True)

    assert axis.at(0.0) == pytest.approx(2.0)
    assert axis.limits == pytest.approx((2 / 2**0.5, 8 * 2**0.5))


def test_clean_accuracy_stands_at_zero_beside_the_line_even_on_other_images():
    rows = [cell(0.9, n_images=50), cell(0.7, preprocess="virolbi"), cell(0.8, defense="pni")]
    rows += attacks(0.5, threat="bare", names=("pgd",)) + attacks(0.4, names=("pgd",), preprocess="virolbi")

    made = drawn(rows, "epsilon")

    bare, adaptive = made.figure.axes
    marks = [
        [line.get_ydata().tolist() for line in axes.get_lines() if line.get_marker() == "o"]
        for axes in (bare, adaptive)
    ]
    assert [[sorted(values) for values in axes] for axes in marks] == [
        [pytest.approx([42, 46]), pytest.approx([90])],
        [pytest.approx([32, 36]), pytest.approx([70])],
    ]
    assert [text.get_text() for text in adaptive.get_xticklabels()] == ["0", "4", "8"]
    assert "ε = 0: clean accuracy, on n = 50" in made.caption
    assert "Marks of one place" not in made.caption


def test_without_clean_cells_there_is_no_zero():
    made = drawn(attacks(0.5, names=("pgd",)), "epsilon")

    assert [text.get_text() for text in made.figure.axes[0].get_xticklabels()] == ["4", "8"]
    assert "ε = 0" not in made.caption
    assert len(lines(made.figure.axes[0])) == 1


def test_the_caption_says_that_marks_stand_apart():
    made = drawn([*attacks(0.5, names=("pgd",)), *attacks(0.4, names=("pgd",), defense="pni")], "epsilon")

    assert "Marks of one place stand a little apart" in made.caption
