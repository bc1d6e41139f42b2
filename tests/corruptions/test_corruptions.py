"""The 19 natural corruptions: constants, statistics, reproducibility, agreement with `imagecorruptions`."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from support.corruption_samples import ALL, SETS, corrupt, photograph, raw

from harness import corruptions
from harness.corruptions.base import severities
from harness.errors import UserError
from harness.registry import Registry
from harness.registry import corruptions as registry

DETERMINISTIC = (
    *("gaussian_blur", "defocus_blur", "zoom_blur", "brightness"),
    *("contrast", "saturate", "pixelate", "jpeg_compression"),
)


def batch(count: int, height: int, width: int | None = None) -> np.ndarray:
    """[B,3,H,W] uint8, all different."""
    one = np.moveaxis(photograph(height, width or height), -1, 0)
    return np.stack([np.roll(one, shift, axis=2) for shift in range(count)])


def test_the_nineteen_published_corruptions_are_registered_and_described() -> None:
    assert registry.names() == sorted(ALL)
    assert len(ALL) == 19
    assert all(entry.summary.endswith(".") for entry in registry)
    assert all(entry.place.split(":")[0].endswith(".py") for entry in registry)


@pytest.mark.parametrize("size", [(32, 32), (96, 96), (72, 40)])
@pytest.mark.parametrize("name", ALL)
def test_every_severity_changes_the_image_and_keeps_its_form(name: str, size: tuple[int, int]) -> None:
    images = batch(1, *size)
    for severity in range(1, 6):
        out = corrupt(images, name, severity)
        assert out.shape == images.shape
        assert out.dtype == np.uint8
        assert (out != images).any()


@pytest.mark.parametrize("name", ALL)
def test_the_result_depends_on_the_image_and_not_on_its_batch_mates(name: str) -> None:
    images = batch(4, 32)
    together = corrupt(images, name)
    for index in (3, 1):
        alone = corruptions.corrupt(images[index : index + 1], name, 3, seed=0, indices=np.array([index]))
        np.testing.assert_array_equal(alone[0], together[index])


@pytest.mark.parametrize("name", ALL)
def test_no_global_random_state_is_touched_or_used(name: str) -> None:
    images = batch(2, 32)
    first = corrupt(images, name)
    np.random.seed(1)  # noqa: NPY002 (the state that must not matter)
    before = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()  # noqa: NPY002
    second = corrupt(images, name)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert random.getstate() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", [name for name in ALL if name not in DETERMINISTIC])
def test_seed_and_index_change_the_draw(name: str) -> None:
    images = np.repeat(batch(1, 32), 2, axis=0)
    first, second = corrupt(images, name)
    assert (first != second).any()
    assert (first != corrupt(images[:1], name, seed=1)[0]).any()


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_what_draws_nothing_is_the_same_for_every_seed(name: str) -> None:
    images = batch(1, 32)
    np.testing.assert_array_equal(corrupt(images, name, seed=0), corrupt(images, name, seed=1))


def test_severity_changes_the_draw_itself() -> None:
    black = np.full((1, 3, 16, 16), 128, np.uint8)
    mild, strong = (corrupt(black, "gaussian_noise", severity)[0].astype(int) - 128 for severity in (1, 2))
    assert abs(np.corrcoef(mild.ravel(), strong.ravel())[0, 1]) < 0.2


def test_input_is_left_as_it_was() -> None:
    images = batch(1, 32)
    kept = images.copy()
    for name in ALL:
        corrupt(images, name)
    np.testing.assert_array_equal(images, kept)


NOT_MONOTONE = ("glass_blur", "elastic_transform", "saturate", "frost", "spatter")


"""Published so: their constants trade one kind of damage for another."""


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize("name", [name for name in ALL if name not in NOT_MONOTONE])
def test_a_larger_severity_moves_further_from_the_image(name: str, side: int) -> None:
    images = batch(6, side)
    distances = [np.abs(corrupt(images, name, s).astype(float) - images).mean() for s in (1, 3, 5)]
    assert distances[0] < distances[1] < distances[2]


# Statistics against the constants, written here a second time.
GAUSSIAN = {"cifar": (0.04, 0.06, 0.08, 0.09, 0.10), "imagenet": (0.08, 0.12, 0.18, 0.26, 0.38)}


SHOT = {"cifar": (500, 250, 100, 75, 50), "imagenet": (60, 25, 12, 5, 3)}


IMPULSE = {"cifar": (0.01, 0.02, 0.03, 0.05, 0.07), "imagenet": (0.03, 0.06, 0.09, 0.17, 0.27)}


SPECKLE = {"cifar": (0.06, 0.1, 0.12, 0.16, 0.2), "imagenet": (0.15, 0.2, 0.35, 0.45, 0.6)}


GRAY = np.full((200, 200, 3), 0.5)


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("constants_set", SETS)
class TestNoiseStatistics:
    def test_gaussian_noise_has_mean_zero_and_the_published_deviation(self, constants_set: str, severity: int) -> None:
        noise = raw("gaussian_noise", GRAY, constants_set, severity) - GRAY
        deviation = GAUSSIAN[constants_set][severity - 1]
        assert noise.std() == pytest.approx(deviation, rel=0.02)
        assert abs(noise.mean()) < 4 * deviation / noise.size**0.5

    def test_shot_noise_counts_photons(self, constants_set: str, severity: int) -> None:
        photons = SHOT[constants_set][severity - 1]
        noisy = raw("shot_noise", GRAY, constants_set, severity)
        np.testing.assert_allclose(noisy * photons, np.rint(noisy * photons), atol=1e-9)
        assert noisy.mean() == pytest.approx(0.5, rel=0.02)
        assert noisy.var() == pytest.approx(0.5 / photons, rel=0.05)

    def test_impulse_noise_strikes_a_share_half_of_it_white(self, constants_set: str, severity: int) -> None:
        share = IMPULSE[constants_set][severity - 1]
        noisy = raw("impulse_noise", GRAY, constants_set, severity)
        spread = 5 * (share / noisy.size) ** 0.5
        assert (noisy == 1).mean() == pytest.approx(share / 2, abs=spread)
        assert (noisy == 0).mean() == pytest.approx(share / 2, abs=spread)
        assert ((noisy == 0) | (noisy == 1) | (noisy == 0.5)).all()

    def test_speckle_noise_grows_with_brightness(self, constants_set: str, severity: int) -> None:
        deviation = SPECKLE[constants_set][severity - 1]
        for level in (0.0, 0.25, 1.0):
            noise = raw("speckle_noise", GRAY * 2 * level, constants_set, severity) - level
            assert noise.std() == pytest.approx(deviation * level, rel=0.02)


def test_impulse_noise_strikes_channels_independently() -> None:
    struck = raw("impulse_noise", GRAY, "imagenet", 5) != 0.5
    assert struck.all(axis=2).mean() == pytest.approx(0.27**3, abs=0.005)


def test_what_noise_does_not_strike_keeps_its_exact_level() -> None:
    every_level = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16), (4, 3, 16, 16))
    noisy = corrupt(every_level, "impulse_noise", 5)
    kept = (noisy != 0) & (noisy != 255)
    np.testing.assert_array_equal(noisy[kept], every_level[kept])


def test_the_result_is_truncated_to_a_level_not_rounded() -> None:
    gray = np.full((1, 3, 8, 8), 100, np.uint8)
    # 100 + 0.05·255 = 112.75
    assert (corrupt(gray, "brightness", 1) == 112).all()


@pytest.mark.parametrize(("side", "expected"), [(32, "cifar"), (64, "cifar"), (65, "imagenet"), (224, "imagenet")])
def test_the_constants_follow_the_image_size(side: int, expected: str) -> None:
    assert corruptions.constants_set(side, side) == expected
    assert corruptions.constants_set(8, side) == expected
    gray = np.full((1, 3, side, side), 128, np.uint8)
    noisy = corruptions.corrupt(gray, "gaussian_noise", 1, seed=0, indices=np.arange(1), jpeg=False)
    assert (noisy / 255 - 0.5).std() == pytest.approx(GAUSSIAN[expected][0], rel=0.06)


def test_gray_images_get_the_published_noise_on_their_one_channel() -> None:
    gray = np.full((4, 1, 64, 64), 128, np.uint8)
    noise = corrupt(gray, "gaussian_noise", 5).astype(float) / 255
    assert noise.shape == (4, 1, 64, 64)
    assert noise.std() == pytest.approx(0.10, rel=0.03)


@pytest.mark.parametrize("name", [name for name in DETERMINISTIC if name != "saturate"])
def test_gray_images_become_what_their_coloured_copy_becomes(name: str) -> None:
    gray = batch(2, 32)[:, :1]
    coloured = corrupt(np.repeat(gray, 3, axis=1), name)
    np.testing.assert_allclose(corrupt(gray, name)[:, 0], coloured[:, 0], atol=1)


@pytest.mark.parametrize("name", ALL)
def test_every_corruption_takes_gray_and_tiny_images(name: str) -> None:
    for images in (batch(1, 32)[:, :1], batch(1, 8), batch(1, 5, 9)):
        assert corrupt(images, name, 5).shape == images.shape


@pytest.mark.parametrize("severity", [0, 6, 7, -1])
def test_a_severity_outside_one_to_five_is_refused(severity: int) -> None:
    with pytest.raises(UserError, match=f"severity must be 1–5, got {severity}"):
        corrupt(batch(1, 32), "contrast", severity)


def test_wrong_input_is_refused_with_what_came() -> None:
    with pytest.raises(UserError, match="Did you mean gaussian_noise"):
        corrupt(batch(1, 32), "gausian_noise")
    with pytest.raises(UserError, match="float64"):
        corrupt(batch(1, 32) / 255.0, "contrast")
    with pytest.raises(UserError, match=r"\[1, 2, 32, 32\]"):
        corrupt(batch(1, 32)[:, :2], "contrast")
    with pytest.raises(UserError, match="seed must be 0 or more, got -1"):
        corrupt(batch(1, 32), "contrast", seed=-1)
    with pytest.raises(ValueError, match="zip"):
        corruptions.corrupt(batch(2, 32), "contrast", 1, seed=0, indices=np.arange(1))


def test_a_corruption_of_ones_own_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Registry("corruption", "corruptions")
    monkeypatch.setattr(corruptions, "corruptions", own)

    @own.register("darker")
    @severities(cifar=(0.9, 0.8, 0.7, 0.6, 0.5))
    def darker(image: np.ndarray, rng: np.random.Generator, keep: float) -> np.ndarray:
        """Less light."""
        return image * keep

    @own.register("bare")
    def bare(image: np.ndarray) -> np.ndarray:
        return image

    for side in (8, 80):
        assert (corrupt(np.full((1, 3, side, side), 100, np.uint8), "darker", 5) == 50).all()
    assert corruptions.choose(["all"])[-1] == "darker"
    assert repr(darker) == "<corruption darker>"
    with pytest.raises(UserError, match="severities"):
        corruptions.get("bare")
    with pytest.raises(UserError, match="severities 1–5, got 2"):
        severities(cifar=(1.0, 2.0))
