"""Smoothing as a torchvision transform: kinds of images, pipelines, workers, and Pillow's modes."""

from __future__ import annotations

import doctest
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.loader_samples import Samples, sample
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from defenses.virolbi import InverseScaleSmoothing, smooth
from defenses.virolbi.apps import transform as module
from defenses.virolbi.apps.pillow import MODES, like_picture, to_planes
from harness.errors import UserError

LEVEL = 0.5


def image(*leading: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Random uint8 [...,C,6,5]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*leading, channels, 6, 5), generator=generator, dtype=torch.uint8)


def picture(mode: str) -> Image.Image:
    """7×5 pixels of random content in one of Pillow's modes."""
    rng = np.random.default_rng(0)
    if mode == "F":
        return Image.fromarray(rng.random((5, 7), dtype=np.float32))
    if mode.startswith("I"):
        kind = {"I": np.int32, "I;16": "<u2", "I;16B": ">u2"}[mode]
        return Image.fromarray(rng.integers(0, 65536, (5, 7)).astype(kind))
    color = Image.fromarray(rng.integers(0, 256, (5, 7, 4), np.uint8))
    if mode == "RGBA":
        return color
    if mode == "LA":
        return color.convert("LA")
    return color.convert("RGB").quantize(16) if mode == "P" else color.convert("RGB").convert(mode)


@pytest.fixture
def transform() -> InverseScaleSmoothing:
    return InverseScaleSmoothing(level=LEVEL)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("leading", [(), (4,), (0,), (2, 2), (2, 0)])
def test_a_float_tensor_becomes_what_smooth_gives(
    transform: InverseScaleSmoothing, leading: tuple[int, ...], channels: int
) -> None:
    images = image(*leading, channels=channels).float() / 255

    transformed = transform(images)

    expected = (
        [smooth(each, level=LEVEL).images for each in images.reshape(-1, channels, 6, 5)] if images.numel() else []
    )
    assert torch.equal(transformed, torch.stack(expected).reshape(images.shape) if expected else images)


def test_a_uint8_tensor_is_rounded(transform: InverseScaleSmoothing) -> None:
    images = image(3)

    transformed = transform(images)

    assert transformed.dtype == torch.uint8
    assert (transformed.double() - smooth(images, level=LEVEL).images.double() * 255).abs().max() <= 0.5001


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_is_kept(transform: InverseScaleSmoothing, kind: torch.dtype) -> None:
    images = (image(2).float() / 255).to(kind)

    assert torch.equal(transform(images), smooth(images.float(), level=LEVEL).images.to(kind))


def test_what_is_given_is_left_as_it_is(transform: InverseScaleSmoothing) -> None:
    images, color = image(2), picture("RGB")
    before = images.clone(), color.tobytes()

    transform(images, color)

    assert torch.equal(images, before[0])
    assert color.tobytes() == before[1]


@pytest.mark.parametrize(
    "options",
    [
        {"level": 0.3},
        {"nu": 4.0},
        {"kappa": 9.0},
        {"scheme": "fast"},
        {"iterations": 40},
        {"iterations": 0},
        {"max_iterations": 7},
    ],
)
def test_options_are_those_of_smooth(options: dict[str, Any]) -> None:
    images = image(2).float() / 255

    assert torch.equal(InverseScaleSmoothing(**options)(images), smooth(images, **options).images)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"level": 1.5}, "level must be a number from 0 to 1"),
        ({"level": "high"}, "level must be a number"),
        ({"nu": 0}, "nu must be a positive number"),
        ({"kappa": -1}, "kappa must be a positive number"),
        ({"scheme": "quick"}, "unknown scheme 'quick'"),
        ({"iterations": -1}, "iterations must be a whole number"),
        ({"iterations": 2.5}, "iterations must be a whole number"),
        ({"max_iterations": 0}, "max_iterations must be a whole number"),
    ],
)
def test_a_wrong_option_is_refused_before_any_image_comes(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        InverseScaleSmoothing(**options)


@pytest.mark.parametrize("options", [{}, {"level": 0.3, "nu": 4.0, "scheme": "fast"}, {"iterations": 40, "kappa": 9.0}])
def test_repr_and_pickle_build_it_again(options: dict[str, Any]) -> None:
    transform = InverseScaleSmoothing(**options)
    images = image(1)

    for again in (eval(repr(transform)), pickle.loads(pickle.dumps(transform))):
        assert again.options() == transform.options()
        assert torch.equal(again(images), transform(images))


def test_in_a_pipeline_images_are_smoothed_and_all_else_passes(transform: InverseScaleSmoothing) -> None:
    first = tv_tensors.Image(image())
    sample = {
        "image": first,
        "boxes": tv_tensors.BoundingBoxes([[0, 0, 2, 2]], format="XYXY", canvas_size=(6, 5)),
        "mask": tv_tensors.Mask(image(channels=1)),
        "weight": torch.rand(3, 6, 5),
        "label": 7,
    }

    transformed = v2.Compose([transform, v2.Identity()])(sample)

    assert type(transformed["image"]) is tv_tensors.Image
    assert torch.equal(transformed["image"].as_subclass(torch.Tensor), transform(image()))
    for name in ("boxes", "mask", "weight", "label"):
        assert transformed[name] is sample[name]


def test_of_plain_tensors_the_first_is_the_image(transform: InverseScaleSmoothing) -> None:
    labels = torch.tensor([1, 2])

    transformed, passed = transform(image(2), labels)

    assert torch.equal(transformed, transform(image(2)))
    assert passed is labels


def test_a_video_is_smoothed_frame_by_frame(transform: InverseScaleSmoothing) -> None:
    transformed = transform(tv_tensors.Video(image(3)))

    assert type(transformed) is tv_tensors.Video
    assert torch.equal(transformed[1], transform(image(3)[1]))


@pytest.mark.parametrize("given", [np.zeros((3, 6, 5), np.float32), "picture.png", {"label": 3}, []])
def test_what_holds_no_image_is_refused_rather_than_passed_through(
    transform: InverseScaleSmoothing, given: object
) -> None:
    with pytest.raises(UserError, match="expected a tensor or a Pillow picture among what is to be smoothed, got"):
        transform(given)


def test_the_names_that_older_torchvision_calls_are_there(transform: InverseScaleSmoothing) -> None:
    """Before 0.21 they began with an underscore."""
    assert torch.equal(transform._transform(image(), {}), transform(image()))
    with pytest.raises(UserError, match="expected a tensor"):
        transform._check_inputs([3])


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_keeps_mode_and_size(transform: InverseScaleSmoothing, mode: str) -> None:
    original = picture(mode)
    assert original.mode == mode

    transformed = transform(original)

    assert (transformed.mode, transformed.size) == (mode, original.size)
    assert transformed.tobytes() != original.tobytes()


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("CMYK", "YCbCr", "HSV", "LAB")])
def test_a_picture_that_is_not_changed_comes_back_as_it_was(mode: str) -> None:
    original = picture(mode)

    restored = like_picture(to_planes(original), original)

    assert restored.tobytes() == original.tobytes()


@pytest.mark.parametrize(("mode", "white"), [("L", 255), ("RGB", 255), ("I", 65535), ("I;16", 65535), ("I;16B", 65535)])
def test_a_picture_is_smoothed_as_its_numbers_are(transform: InverseScaleSmoothing, mode: str, white: int) -> None:
    values = np.asarray(picture(mode)).astype(np.float32) / white
    expected = smooth(values[None] if values.ndim == 2 else values.transpose(2, 0, 1), level=LEVEL).images * white

    transformed = np.asarray(transform(picture(mode))).astype(float)

    np.testing.assert_allclose(
        transformed if transformed.ndim == 2 else transformed.transpose(2, 0, 1), expected.squeeze(), atol=0.51
    )


def test_a_black_and_white_picture_is_rounded_to_the_nearer() -> None:
    planes = np.array([[[0.0, 0.49, 0.51, 1.0, 0.2, 0.8, 0.5]]], np.float32)

    restored = like_picture(planes, Image.new("1", (7, 1)))

    assert np.asarray(restored).tolist() == [[False, False, True, True, False, True, True]]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_not_smoothed(transform: InverseScaleSmoothing, mode: str) -> None:
    assert transform(picture(mode)).getchannel("A").tobytes() == picture(mode).getchannel("A").tobytes()


def test_a_palettes_picture_takes_the_nearest_of_its_colours() -> None:
    original = picture("P")
    planes = np.random.default_rng(1).random((3, 5, 7), dtype=np.float32)

    restored = like_picture(planes, original)

    colors = np.asarray(original.convert("RGB"), float).reshape(-1, 3)
    for got, wanted in zip(
        np.asarray(restored.convert("RGB"), float).reshape(-1, 3), planes.reshape(3, -1).T, strict=True
    ):
        distances = ((colors - np.rint(wanted * 255)) ** 2).sum(1)
        assert ((got - np.rint(wanted * 255)) ** 2).sum() == distances.min()
    assert restored.getpalette() == original.getpalette()


@pytest.mark.parametrize("transparency", [3, bytes([255, 255, 255, 0, 255, 90] + [255] * 10)])
def test_in_a_palettes_picture_what_is_transparent_stays_so_and_nothing_else_becomes_it(transparency: object) -> None:
    original = picture("P")
    original.info["transparency"] = transparency
    hidden = original.getpalette("RGB")[9:12]
    planes = np.broadcast_to(np.array(hidden, np.float32)[:, None, None] / 255, (3, 5, 7))

    restored = like_picture(planes, original)

    before, after = (np.asarray(each.convert("RGBA")) for each in (original, restored))
    assert (before[..., 3] == 0).any()
    np.testing.assert_array_equal(after[..., 3], before[..., 3])
    np.testing.assert_array_equal(after[before[..., 3] < 255], before[before[..., 3] < 255])


def test_a_mode_nobody_looks_at_is_refused_with_advice(transform: InverseScaleSmoothing) -> None:
    with pytest.raises(UserError, match=r"expected a picture of mode 1, L, .*, got La. Convert it to RGB first"):
        transform(picture("LA").convert("La"))


def test_a_flat_picture_says_that_it_was_left_as_it_was(transform: InverseScaleSmoothing) -> None:
    flat = Image.new("RGB", (7, 5), (10, 20, 30))

    smoothed = transform.smooth_picture(flat)

    assert smoothed.outcome == "unreachable"
    assert smoothed.picture.tobytes() == flat.tobytes()
    assert transform.smooth_picture(picture("RGB")).outcome == "reached"


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # that is what a forking loader does
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_loaders_workers_smooth_alike_with_one_thread_each(method: str) -> None:
    if method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    InverseScaleSmoothing(level=LEVEL)(image())  # the kernels are loaded, as after a first epoch
    loader = DataLoader(
        Samples(4, InverseScaleSmoothing(level=LEVEL)), batch_size=2, num_workers=1, multiprocessing_context=method
    )

    batches = list(loader)

    result = torch.cat([images for images, _ in batches])
    assert torch.equal(result, torch.stack([InverseScaleSmoothing(level=LEVEL)(sample(seed)) for seed in range(4)]))
    assert {int(count) for _, counts in batches for count in counts} == {1}


def test_the_method_alone_does_not_wait_for_torchvision() -> None:
    code = "import sys, defenses.virolbi; print('torchvision' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_the_example_runs() -> None:
    assert doctest.testmod(module).failed == 0
