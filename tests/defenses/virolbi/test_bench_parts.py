"""What `bench` is made of: baseline projections, plans and samples, counted flops, images, numbers as text."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from defenses.virolbi import project, smooth
from defenses.virolbi.bench.baselines import by_csgraph, by_label
from defenses.virolbi.bench.images import from_dataset, generated, gray_picture
from defenses.virolbi.bench.peak import flops_per_pixel, peak_flops
from defenses.virolbi.bench.plot import Line, Mark, Panel, draw_panels, draw_scaling
from defenses.virolbi.bench.projected_path import walk
from defenses.virolbi.bench.table import text_row
from defenses.virolbi.bench.timing import plan_repeats, repeatedly, spread
from defenses.virolbi.method.settings import make_settings
from reports.formats.numbers import digits, short_time
from reports.formats.render import to_markdown
from reports.tables.engine.base import Column, Table


@pytest.mark.parametrize("baseline", [by_csgraph, by_label])
@pytest.mark.parametrize("size", [2, 9, 24])
def test_the_baselines_project_as_we_do(baseline, size: int) -> None:
    image = torch.from_numpy(gray_picture(None, size)[0])

    for at in walk(image, make_settings(size, size, kappa=5.0, nu=1.0, step=None), [1, 300, 900]):
        projected = baseline(at.u.numpy(), at.cut_h.numpy(), at.cut_v.numpy())
        np.testing.assert_allclose(projected, project(at.u, at.cut_h, at.cut_v).numpy(), atol=1e-7)


def test_the_photograph_follows_the_path_that_is_known() -> None:
    """The reference implementation of the paper reached level 0.3 of the 84×84 astronaut after 1,701 iterations."""
    image, name = gray_picture(None, 84)

    assert name == "astronaut of scikit-image"
    assert int(smooth(image, level=0.3).iterations) == pytest.approx(1701, rel=0.01)


@pytest.mark.parametrize(("iterations", "count"), [(15_000, 1), (15_000, 7), (20, 20), (5, 3), (1, 1)])
def test_measured_iterations_are_spread_evenly(iterations: int, count: int) -> None:
    stops = spread(iterations, count)

    assert len(set(stops)) == count
    assert stops[0] >= 1
    assert stops[-1] <= iterations
    assert sum(stops) / count == pytest.approx((iterations + 1) / 2, abs=0.5)
    assert np.ptp(np.diff(stops)) <= 1 if count > 1 else True


@pytest.mark.parametrize("cost", [1e-6, 1e-3, 0.1, 1, 100])
def test_a_plan_stays_within_its_budget(cost: float) -> None:
    repeats, measured = plan_repeats(cost, 15_000, budget=10, repeats=5)

    assert repeats * measured * cost <= max(10, cost)
    assert 1 <= repeats <= 5
    assert 1 <= measured <= 15_000


def test_repeating_ends_with_the_budget_and_with_the_number_asked_for() -> None:
    assert len(list(repeatedly(lambda: None, budget=10, most=4))) == 4
    assert len(list(repeatedly(lambda: time.sleep(0.01), budget=1e-9, most=4))) == 1


def test_flops_are_counted_by_hand() -> None:
    """32×32×3 by the paper's step: per pixel 3 channels of 2 edges' 5 and 8 for u, and 2 edges shrunk by 9."""
    assert flops_per_pixel(3, "paper", 32) == 3 * (2 * 5 + 8) + 2 * 9
    assert flops_per_pixel(1, "paper", 84) == 2 * 6 + 8
    assert flops_per_pixel(3, "fast", 32) == flops_per_pixel(3, "paper", 32) + 3 * 2
    assert flops_per_pixel(3, "exact", 64) - flops_per_pixel(3, "exact", 32) == 3 * 2 * 2 * 32


def test_the_measured_peak_is_one_of_a_single_core() -> None:
    assert 1e9 < peak_flops(torch.device("cpu"), 1) < 1e12


def test_generated_images_are_the_same_for_every_batch_and_have_unequal_neighbours() -> None:
    make = generated()

    few, many = make(2, 12), make(5, 12)

    assert few.dtype == np.float32
    assert (few >= 0).all()
    assert (few <= 1).all()
    np.testing.assert_array_equal(few, many[:2])
    assert not np.array_equal(few[0], few[1])
    assert (np.diff(few, axis=3) != 0).mean() > 0.95


def test_images_of_a_data_set_are_taken_over_and_over_and_scaled() -> None:
    images = np.arange(3 * 16, dtype=np.uint8).reshape(3, 1, 4, 4)
    make = from_dataset(images)

    assert make(4, 4).tolist() == images[[0, 1, 2, 0]].tolist()
    assert make(2, 8).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("number", "text"), [(0.00041234, "0.000412"), (0.9996, "1.00"), (9.996, "10.0"), (1653210, "1,650,000"), (0, "0")]
)
def test_numbers_have_three_digits(number: float, text: str) -> None:
    assert digits(number) == text


def test_times_are_shown_in_the_unit_that_suits_them() -> None:
    assert [short_time(seconds) for seconds in (2.41e-6, 9.999e-4, 0.0169, 109.6)] == [
        *("2.41 µs", "1,000 µs", "16.9 ms", "110 s")
    ]


def test_a_table_shows_its_texts_and_leaves_blank_what_was_not_measured() -> None:
    columns = (Column("path", "seconds"), Column("paper", "seconds"))
    row = text_row(["graph"], ["1.2 ± 0.1", None])

    table = Table(name="t", title="T", caption=("C.",), row_header=("projection",), columns=columns, rows=(row,))

    assert "\n| graph | 1.2 ± 0.1 | – |\n" in to_markdown(table)


@pytest.mark.parametrize("points", [0, 1, 2])
def test_plots_show_what_was_measured_before_an_interruption(points: int, tmp_path: Path) -> None:
    line = Line("a method", [10.0, 100.0][:points], [1.0, 2.0][:points])
    panels = [Panel("", "pixels", "seconds", [line]), Panel("", "pixels", "seconds", [])]

    panelled = draw_panels(panels, tmp_path / "panels")
    scaled = draw_scaling(panels[0], [Mark("paper", 50.0, 1.5)], tmp_path / "scaling")
    assert [len(panelled), len(scaled)] == [3 if points else 0] * 2
    assert all(path.stat().st_size > 0 for path in [*panelled, *scaled])
