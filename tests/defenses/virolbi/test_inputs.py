"""What `smooth` and `path` take and give back: kinds, types, layouts, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.smoothing_samples import pictures

from defenses.virolbi import hessian_norm, path, smooth
from harness.errors import UserError


def test_numpy_in_numpy_out():
    image = pictures(1, 3, 6, 6)[0]
    frozen = image.numpy().copy()
    frozen.flags.writeable = False

    smoothed = smooth(frozen)

    assert isinstance(smoothed.images, np.ndarray)
    assert isinstance(smoothed.labels, np.ndarray)
    assert smoothed.images.shape == (3, 6, 6)
    assert smoothed.images.dtype == np.float32
    assert smoothed.labels.shape == (6, 6)
    np.testing.assert_array_equal(smoothed.images, smooth(image).images.numpy())


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: x.repeat_interleave(2, 0)[::2],
        lambda x: x.double(),
        lambda x: x.clone().requires_grad_(),
        lambda x: x + 1e-7 * (x == x.max()),
    ],
    ids=["channels_last", "transposed", "strided", "float64", "requires_grad", "rounding"],
)
def test_how_the_numbers_are_held_does_not_matter(change):
    images = (pictures(2, 3, 8, 6) * 255).round() / 255
    images /= images.max()

    expected, smoothed = smooth(images), smooth(change(images))

    assert smoothed.images.dtype == torch.float32
    assert not smoothed.images.requires_grad
    assert torch.equal(smoothed.images, expected.images)
    assert smoothed.images.max() <= 1


def test_reversed_and_big_endian_arrays_are_read_right():
    image = pictures(1, 3, 6, 6)[0].numpy()

    np.testing.assert_array_equal(smooth(image[:, ::-1].astype(">f4")).images, smooth(image[:, ::-1].copy()).images)


def test_bytes_and_half_precision_are_converted():
    bytes_ = (pictures(1, 3, 6, 6) * 255).to(torch.uint8)

    assert torch.equal(smooth(bytes_).images, smooth(bytes_.float() / 255).images)
    half = (bytes_.float() / 255).half()
    assert torch.equal(smooth(half).images, smooth(half.float()).images)
    assert smooth(half).images.dtype == torch.float32


def test_the_reference_computes_in_float64_when_the_images_are():
    images = pictures(1, 3, 6, 6).double()

    assert smooth(images, backend="reference").images.dtype == torch.float64


def test_the_input_is_left_as_it_was():
    images = pictures(2, 3, 6, 6)
    images[1] = 0.5
    before = images.clone()

    smooth(images).images.zero_()

    assert torch.equal(images, before)


GOOD = np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4)


def spoiled(value: float) -> np.ndarray:
    images = GOOD.copy()
    images[0, 1, 2, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (spoiled(math.nan), {}, "finite"),
        (spoiled(math.inf), {}, "finite"),
        (spoiled(-0.1), {}, r"\[0,1\], got values from -0.1"),
        (GOOD * 255, {}, r"\[0,1\], got values from 0 to 255"),
        (GOOD[:, :2], {}, "1 or 3 channels"),
        (GOOD.transpose(0, 2, 3, 1), {}, "1 or 3 channels"),
        (GOOD[0, 0], {}, r"\[B,C,H,W\] or \[C,H,W\]"),
        (GOOD[:, :, :0], {}, "at least one pixel"),
        (GOOD.astype(np.int64), {}, "floating point"),
        (GOOD.astype(str), {}, "floating point"),
        (GOOD.tolist(), {}, "torch tensor or a NumPy array"),
        (GOOD, {"level": 1.5}, "level must be a number from 0 to 1"),
        (GOOD, {"level": math.nan}, "level must be"),
        (GOOD, {"level": "0.6"}, "level must be"),
        (GOOD, {"nu": 0}, "nu must be a positive number"),
        (GOOD, {"nu": -1.0}, "nu must be a positive number"),
        (GOOD, {"kappa": math.inf}, "kappa must be a positive number"),
        (GOOD, {"step": 0.1}, r"step must be under 2/\(κ‖H‖\)"),
        (GOOD, {"step": 2 / (5 * hessian_norm(4, 4))}, "step must be under"),
        (GOOD, {"step": 0.0}, "step must be a positive number"),
        (GOOD, {"max_iterations": 0}, "max_iterations must be a whole number"),
        (GOOD, {"iterations": -1}, "iterations must be a whole number"),
        (GOOD, {"iterations": 2.5}, "iterations must be a whole number"),
        (GOOD, {"backend": "gpu"}, "unknown backend 'gpu'.*cpu, cuda, reference"),
    ],
)
def test_bad_input_is_refused_in_one_line(images, options, message):
    with pytest.raises(UserError, match=message) as caught:
        smooth(images, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("levels", "message"), [([], "at least one"), ([0.6, 0.3], "ascend"), ([0.3, 2], "from 0 to 1")]
)
def test_bad_levels_of_a_path_are_refused(levels, message):
    with pytest.raises(UserError, match=message):
        path(GOOD, levels=levels)


def test_a_step_just_under_the_bound_still_converges():
    smoothed = smooth(GOOD, step=1.99 / (5 * hessian_norm(4, 4)), level=0.9)

    assert smoothed.outcome.tolist() == ["reached"]
    np.testing.assert_allclose(smoothed.images, GOOD, atol=0.2)
