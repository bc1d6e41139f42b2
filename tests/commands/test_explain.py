"""Exhibits: what their arrays must be, when they are made anew, and what is said where they cannot be made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.explained import CLASSES, Tiny, explain_context, make_photographs, make_run, save_network

from defenses.virolbi import smooth
from harness import __main__ as cli
from harness.errors import UserError
from harness.explain.base import ExplainContext, Explanation
from harness.explain.compute import Explained, complete, explain
from harness.explain.photographs import find_photographs
from harness.records.exhibits import Exhibit, Exhibits, save_exhibit
from harness.registry import exhibits

SMALL = "photograph_path:size=16,count=2"
ALL = [SMALL if name == "photograph_path" else name for name in exhibits.names()]
WITHOUT_MODELS = {"frequency_parts", "image_path", "spectral_difference"}


def makers(*names: str) -> list[Explanation]:
    return [exhibits.create(name) for name in names]


def made(name: str, given: ExplainContext) -> Exhibit:
    return exhibits.create(name).compute(given)


@pytest.fixture
def given(tmp_path: Path) -> ExplainContext:
    return explain_context(make_run(tmp_path / "run"), photographs=make_photographs(tmp_path / "pictures"))


# Made once


def test_exhibits_are_made_once_and_then_left_alone(given: ExplainContext) -> None:
    first = complete(makers(*ALL), given)
    written = {name: Exhibits([given.run]).path(name).stat().st_mtime_ns for name in exhibits.names()}
    second = complete(makers(*ALL), given)

    assert (len(first.made), first.missing) == (len(ALL), {})
    assert second == Explained((), tuple(maker.label for maker in makers(*ALL)), {})
    assert written == {name: Exhibits([given.run]).path(name).stat().st_mtime_ns for name in written}


def test_an_exhibit_is_made_anew_from_other_weights_images_or_parameters(given: ExplainContext) -> None:
    complete(makers("grad_cam", "image_path"), given)
    save_network(given.run, "vanilla.pt", "vanilla", weights=9)

    assert complete(makers("grad_cam", "image_path"), explain_context(given.run)).made == ("grad_cam",)
    assert complete(makers("image_path"), explain_context(given.run, seed=1)).made == ("image_path",)
    assert complete(makers("image_path:nu=4"), explain_context(given.run, seed=1)).made == ("image_path:nu=4",)
    assert Exhibits([given.run])["image_path"].metadata["nu"] == 4


def test_an_exhibit_that_cannot_be_read_is_made_anew(given: ExplainContext) -> None:
    save_exhibit(given.run, Exhibit("image_path", {}, {})).write_bytes(b"half")

    assert complete(makers("image_path"), given).made == ("image_path",)


# What is missing


def test_without_checkpoints_the_reason_is_named_and_the_rest_is_made(tmp_path: Path) -> None:
    found = complete(makers(*exhibits.names()), explain_context(tmp_path))

    assert set(found.made) == WITHOUT_MODELS
    assert "give a folder of pictures with --images" in found.missing.pop("photograph_path")
    assert all("no checkpoints for tiny" in reason and "--dataset" in reason for reason in found.missing.values())
    assert len(set(found.missing.values())) == 1


def test_without_epochs_kept_the_exhibits_of_training_say_how_to_keep_them(tmp_path: Path) -> None:
    save_network(tmp_path, "vanilla.pt", "vanilla")

    found = complete(makers("grad_cam", "grad_cam_training", "feature_spectra"), explain_context(tmp_path))

    assert found.made == ("grad_cam",)
    assert all("--keep-epochs" in reason for reason in found.missing.values())


def test_checkpoints_of_other_data_and_damaged_ones_are_left_out(
    given: ExplainContext, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(given.run, "other.pt", "blur", dataset="cifar10")
    (given.run / "checkpoints" / "damaged.pt").write_bytes(b"half")

    assert [one.path.name for one in given.finals] == ["iterative.pt", "vanilla.pt"]
    assert "damaged.pt is corrupt" in capsys.readouterr().err


def test_the_lowest_seed_stands_for_all(given: ExplainContext) -> None:
    save_network(given.run, "another.pt", "vanilla", seed=5)

    assert {one.seed for one in given.checkpoints} == {0}
    assert len(given.checkpoints) == 5


def test_a_photograph_that_cannot_be_read_is_left_out(
    given: ExplainContext, capsys: pytest.CaptureFixture[str]
) -> None:
    given.photographs[0].write_bytes(b"no picture")

    assert made(SMALL, given).metadata["names"] == ["flat"]
    assert "n01234567_sea_lion.png is not a picture" in capsys.readouterr().err


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()

    with pytest.raises(UserError, match=r"expects pictures .*, got none in"):
        find_photographs(tmp_path)
    with pytest.raises(UserError, match="got nothing at"):
        find_photographs(tmp_path / "nowhere")


def test_a_run_that_names_no_data_set_is_answered_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.cli(["explain", str(tmp_path), "--exhibit", "image_path,grad_cam"], standalone_mode=False)

    told = capsys.readouterr().err
    assert code == 1
    assert told.count("\n") == 2
    assert "not made: image_path, grad_cam: the records in" in told
    assert "give one with --dataset" in told
    with pytest.raises(UserError, match="expected the folder of a run, got none"):
        explain(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name",
    [
        "image_path:count=0",
        "grad_cam:count=0",
        "grad_cam:radius=0",
        "frequency_parts:radius=-1",
        "photograph_path:size=1",
    ],
)
def test_a_parameter_out_of_range_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="must be"):
        exhibits.create(name)


# What the arrays are


def test_a_path_holds_what_smooth_gives_at_its_levels(given: ExplainContext) -> None:
    found = made("image_path:levels=0.3/0.7", given)

    single = smooth(found.arrays["originals"], level=0.7)
    assert np.array_equal(found.arrays["images"][:, 1], np.rint(single.images * 255).astype(np.uint8))
    assert np.array_equal(found.arrays["iterations"][:, 1], single.iterations)
    assert np.array_equal(found.arrays["edges"], np.rint(found.arrays["level"] * 480))
    assert found.metadata["all_edges"] == 480


def test_a_flat_photograph_stands_for_itself_from_the_level_it_cannot_reach(given: ExplainContext) -> None:
    found = made(SMALL, given)

    assert list(found.arrays["outcome"][1][-2:]) == ["unreachable"] * 2
    assert np.array_equal(found.arrays["images"][1, -1], found.arrays["originals"][1])


def test_samples_are_of_different_classes_and_follow_the_seed(given: ExplainContext) -> None:
    chosen = given.samples(3)

    assert sorted(chosen.labels) == [0, 1, 2]
    assert np.array_equal(chosen.images, given.opened.test().images[chosen.indices])
    assert len({tuple(explain_context(given.run, seed=seed).samples(4).indices) for seed in range(8)}) > 1
    assert len(given.samples(100).labels) == 12


def test_low_and_high_frequencies_sum_to_the_image(given: ExplainContext) -> None:
    arrays = made("frequency_parts:radius=3", given).arrays

    assert np.allclose(arrays["low"] + arrays["high"], arrays["originals"] / 255, atol=1e-6)
    assert abs(arrays["high"].mean((2, 3))).max() < 1e-6


def test_the_spectral_difference_is_the_mean_amplitude_of_what_is_taken_away(given: ExplainContext) -> None:
    found = made("spectral_difference:levels=0.4/0.6", given).arrays["difference"]

    images = Tiny().test().take(8).images / np.float32(255)
    taken = (images - smooth(images, level=0.6).images).astype(np.float64)
    row, column = np.mgrid[:16, :16] - 0.0
    wave = np.exp(-2j * np.pi * (3 * row + 5 * column) / 16)  # one coefficient, by its definition
    expected = abs((taken * wave).sum((2, 3))).mean()
    assert found[1, 8 + 3, 8 + 5] == pytest.approx(expected, rel=1e-5)
    assert found[:, 8, 8].max() < 0.02 < found.mean()


def test_feature_spectra_are_of_the_first_convolution_and_one_for_each_epoch(given: ExplainContext) -> None:
    found = made("feature_spectra", given)

    shown = [(one["defense"], one["epoch"]) for one in found.metadata["models"]]
    assert shown == [("vanilla", 1), ("vanilla", 2), ("virolbi_iterative", 1), ("virolbi_iterative", 2)]
    model = next(one for one in given.finals if one.defense == "vanilla").network(torch.device("cpu"))
    images = torch.from_numpy(Tiny().test().take(8).images).float() / 255
    maps = model.network.stem[0]((images - model.mean) / model.std).numpy()
    expected = np.log1p(abs(np.fft.fftshift(np.fft.fft2(maps.astype(np.float64)), axes=(2, 3)))).mean((0, 1))
    assert np.allclose(found.arrays["spectra"][1], expected, rtol=1e-4)


def test_attributions_say_what_they_show(given: ExplainContext) -> None:
    found = made("relevance:count=2", given)

    assert found.arrays["maps"].shape == (2, 3, 2, 16, 16)
    assert found.arrays["predicted"].shape == (2, 3, 2)
    assert found.metadata["variants"] == ["original", "Gaussian blur", "large scale, level 0.6"]
    assert {one["method"] for one in found.metadata["models"]} == {"LRP"}
    assert found.metadata["classes"] == list(CLASSES)
    assert np.array_equal(made("relevance:count=2", given).arrays["maps"], found.arrays["maps"])
