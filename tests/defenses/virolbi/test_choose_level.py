"""Choosing the level by cross-validated reconstruction error (Remark 3)."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
import torch

from defenses.virolbi import choose_level, smooth
from defenses.virolbi.apps import choose_level as module
from harness.errors import UserError

LEVELS = (0.05, 0.15, 0.4, 0.95)
NOISE = 0.06


def blocks(count: int = 10, seed: int = 0) -> np.ndarray:
    """[N,1,16,16] float32: four squares by four of random light, whose outlines are a fifth of the edges."""
    light = np.random.default_rng(seed).uniform(0.3, 0.7, (count, 1, 4, 4))
    return np.kron(light, np.ones((1, 1, 4, 4))).astype(np.float32)


def with_noise(images: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(-1, 1, images.shape) * NOISE * np.sqrt(3)
    return (images + noise).astype(np.float32)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return blocks()


@pytest.fixture(scope="module")
def noisy(clean: np.ndarray) -> np.ndarray:
    return with_noise(clean, 1)


def test_the_best_level_is_where_the_noise_is_gone_and_the_blocks_are_there(
    clean: np.ndarray, noisy: np.ndarray
) -> None:
    choice = choose_level(clean, noisy, levels=LEVELS)

    assert choice.best in (0.15, 0.4)
    assert choice.errors.min() < 0.6 * min(choice.errors[0], choice.errors[-1])
    assert choice.errors[-1] == pytest.approx(NOISE**2, rel=0.15)  # hardly smoothed: the noise itself
    np.testing.assert_array_equal(choice.candidates, LEVELS)
    assert set(choice.fold_choices) <= {0.15, 0.4}


@pytest.mark.parametrize("stop", [{"levels": LEVELS}, {"iterations": [0, 30, 100, 400]}])
@pytest.mark.parametrize("folds", [2, 3, 10])
def test_errors_and_choices_are_those_of_smoothing_image_by_image(
    clean: np.ndarray, noisy: np.ndarray, folds: int, stop: dict[str, Any]
) -> None:
    ((name, candidates),) = stop.items()
    single = {"levels": "level"}.get(name, name)
    errors = np.array(
        [
            [((smooth(n, **{single: each}).images.astype(float) - c) ** 2).mean() for each in candidates]
            for c, n in zip(clean, noisy, strict=True)
        ]
    )

    choice = choose_level(clean, noisy, folds=folds, **stop)

    np.testing.assert_allclose(choice.errors, errors.mean(0), rtol=1e-12)
    np.testing.assert_allclose(choice.standard_errors, errors.std(0, ddof=1) / len(clean) ** 0.5, rtol=1e-12)
    assert choice.best == candidates[errors.mean(0).argmin()]
    held_out = []
    for fold in range(folds):
        inside = np.arange(len(clean)) % folds == fold
        best = errors[~inside].mean(0).argmin()
        assert choice.fold_choices[fold] == candidates[best]
        held_out += [*errors[inside, best]]
    assert choice.held_out_error == pytest.approx(np.mean(held_out), rel=1e-12)


def test_folds_that_disagree_are_each_held_to_their_own_choice() -> None:
    """Two kinds of images that want different levels, one kind in each fold."""
    coarse, fine = blocks(4), np.random.default_rng(3).uniform(0, 1, (4, 1, 16, 16)).astype(np.float32)
    clean = np.stack([coarse, fine], 1).reshape(8, 1, 16, 16)
    noisy = np.stack([with_noise(coarse, 1), fine], 1).reshape(8, 1, 16, 16)

    choice = choose_level(clean, noisy, levels=LEVELS, folds=2)

    assert choice.fold_choices[0] == 0.95  # the fold of the coarse images, chosen on the fine ones
    assert choice.fold_choices[1] < 0.5
    assert choice.held_out_error > choice.errors.min()


def test_a_second_noisy_copy_serves_where_there_are_no_clean_images(clean: np.ndarray, noisy: np.ndarray) -> None:
    other = with_noise(clean, 2)

    choice, ideal = (choose_level(target, noisy, levels=LEVELS) for target in (other, clean))

    assert choice.best == ideal.best
    np.testing.assert_allclose(choice.errors, ideal.errors + NOISE**2, rtol=0.15)


def test_blocks_threads_and_the_kind_of_array_do_not_change_a_bit(
    clean: np.ndarray, noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = choose_level(clean, noisy, levels=LEVELS)
    monkeypatch.setattr(module, "_BLOCK_VALUES", 5 * 256 * 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)

    choice = choose_level(torch.from_numpy(clean), torch.from_numpy(noisy), levels=LEVELS)

    for got, wanted in zip(choice, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_folds_follow_the_generator_and_nothing_else(clean: np.ndarray, noisy: np.ndarray) -> None:
    """Two kinds of images that want different levels; what the folds choose depends on who is in them."""
    fine = np.random.default_rng(3).uniform(0, 1, (2, 1, 16, 16)).astype(np.float32)
    mixed, distorted = np.concatenate([clean[:2], fine]), np.concatenate([noisy[:2], fine])

    def choices(seed: int) -> tuple[float, ...]:
        generator = torch.Generator().manual_seed(seed)
        return tuple(choose_level(mixed, distorted, levels=(0.4, 0.95), folds=2, generator=generator).fold_choices)

    before = torch.get_rng_state()

    assert choices(4) == choices(4)
    assert len({choices(seed) for seed in range(8)}) > 1
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("count", [2, 7, 10])
def test_every_image_is_in_one_fold_of_nearly_equal_size(count: int) -> None:
    for folds in range(2, count + 1):
        fold_of = module._fold_of(count, folds, torch.Generator().manual_seed(0))
        sizes = np.bincount(fold_of, minlength=folds)
        assert sizes.sum() == count
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("options", [{"nu": 4.0}, {"kappa": 9.0}, {"scheme": "fast"}, {"max_iterations": 20}])
def test_options_are_those_of_smooth(clean: np.ndarray, noisy: np.ndarray, options: dict[str, Any]) -> None:
    choice = choose_level(clean[:2], noisy[:2], levels=[0.3], folds=2, **options)

    smoothed = smooth(noisy[:2], level=0.3, **options).images.astype(float)
    assert choice.errors[0] == pytest.approx(((smoothed - clean[:2]) ** 2).mean(), rel=1e-12)


def test_of_candidates_that_tie_the_smaller_is_taken() -> None:
    flat = np.full((2, 1, 4, 4), 0.5, np.float32)

    choice = choose_level(flat, flat, levels=[0.2, 0.5, 0.9], folds=2)

    assert choice.errors.tolist() == [0, 0, 0]
    assert choice.best == 0.2


def test_8_bit_images_are_taken_as_smooth_takes_them(clean: np.ndarray, noisy: np.ndarray) -> None:
    choice = choose_level(*(np.rint(each * 255).astype(np.uint8) for each in (clean, noisy)), levels=LEVELS)

    np.testing.assert_allclose(choice.errors, choose_level(clean, noisy, levels=LEVELS).errors, rtol=0.02)


IMAGE = np.zeros((4, 1, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("images", "noisy", "options", "line"),
    [
        (IMAGE, IMAGE[:3], {}, r"one shape, got \[4, 1, 4, 4\] and \[3, 1, 4, 4\]"),
        (IMAGE, IMAGE[..., :3], {}, "images and noisy must both be"),
        (IMAGE[0], IMAGE[0], {}, "images and noisy must both be"),
        ([0.5], [0.5], {}, "images and noisy must both be"),
        (IMAGE[:1], IMAGE[:1], {}, "at least 2 images, got 1"),
        (IMAGE[:0], IMAGE[:0], {}, "at least 2 images, got 0"),
        (IMAGE, IMAGE, {"folds": 5}, "folds must be at most the number of images, 4, got 5"),
        (IMAGE, IMAGE, {"folds": 1}, "folds must be a whole number of at least 2"),
        (IMAGE, IMAGE, {"folds": 2, "levels": []}, "at least one level"),
        (IMAGE, IMAGE, {"folds": 2, "levels": [0.6, 0.3]}, "levels must ascend"),
        (IMAGE, IMAGE, {"folds": 2, "iterations": [5, 3]}, "iterations must ascend"),
        (IMAGE, IMAGE, {"folds": 2, "nu": 0}, "nu must be a positive number"),
        (IMAGE, IMAGE + 2, {"folds": 2}, r"images must lie in \[0,1\]"),
        (IMAGE + np.nan, IMAGE, {"folds": 2}, "images must be finite"),
    ],
)
def test_what_cannot_be_used_is_refused(images: Any, noisy: Any, options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        choose_level(images, noisy, **options)


def test_the_example_runs() -> None:
    assert doctest.testmod(module).failed == 0
