"""Corruptions agree with `imagecorruptions`, and with the published code where that package differs."""

from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
from imagecorruptions import corruptions as package
from PIL import Image
from scipy import ndimage
from skimage.filters import gaussian
from support.corruption_samples import ALL, SETS, corrupt, photograph, raw

from harness import corruptions
from harness.corruptions import weather


class LegacyDraws(np.random.RandomState):
    """The package's own stream of draws, in the place of a Generator."""

    integers = np.random.RandomState.randint


# Agreement with `imagecorruptions`: the same legacy draws for its functions and for ours. Its own versions
# of four (impulse: other draws, frost: another scale and choice, elastic: no affine part, snow: flakes that keep their
# fractions and streaks that are rounded) differ from ImageNet-C's.
OWN_RECIPES = ("impulse_noise", "glass_blur", "frost", "elastic_transform", "snow")
SAME_RECIPE = [name for name in ALL if name not in OWN_RECIPES]


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", SAME_RECIPE)
def test_imagenet_constants_agree_with_the_package(name: str, severity: int) -> None:
    # A side at which the package's nearest-neighbour `pixelate` is the published one.
    image = photograph(112, 112) if name == "pixelate" else photograph(180, 180)
    kept = np.random.get_state()  # noqa: NPY002 (the package draws from it)
    np.random.seed(7)  # noqa: NPY002
    theirs = np.uint8(getattr(package, name)(Image.fromarray(image), severity))
    np.random.set_state(kept)  # noqa: NPY002
    corruption = corruptions.get(name)
    ours = corruption(image / 255.0, LegacyDraws(7), *corruption.constants("imagenet", severity))
    levels = (np.clip(ours, 0, 1) * 255).astype(np.uint8)
    assert np.abs(levels.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("name", ["impulse_noise", "glass_blur"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_other_draws_than_the_packages_do_the_same_damage(name: str, severity: int) -> None:
    image = photograph(180, 180)
    theirs = np.uint8(getattr(package, name)(Image.fromarray(image), severity, seed=3)).astype(float)
    images = np.moveaxis(image, -1, 0)[None]
    out = corruptions.corrupt(images, name, severity, seed=0, indices=np.arange(1), jpeg=False)
    ours = np.moveaxis(out[0], 0, -1).astype(float)
    damage = np.abs(theirs - image).mean()
    assert np.abs(ours - image).mean() == pytest.approx(damage, rel=0.05)


@pytest.mark.parametrize("severity", range(1, 6))
def test_small_images_are_blurred_by_cifars_own_deviation(severity: int) -> None:
    deviation = (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1]
    image = photograph(32, 32) / 255
    expected = gaussian(image, sigma=deviation, channel_axis=-1)
    np.testing.assert_allclose(raw("gaussian_blur", image, "cifar", severity), expected, atol=1e-12)


@pytest.mark.parametrize("severity", range(1, 6))
def test_small_images_are_compressed_at_cifars_own_quality(severity: int) -> None:
    image, file = photograph(32, 32), io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=(80, 65, 58, 50, 40)[severity - 1])
    out = corrupt(np.moveaxis(image, -1, 0)[None], "jpeg_compression", severity)[0]
    np.testing.assert_array_equal(np.moveaxis(out, 0, -1), np.asarray(Image.open(file)))


@pytest.mark.parametrize("severity", range(1, 6))
def test_zoom_blur_is_the_mean_of_scipys_zooms(severity: int) -> None:
    image = photograph(32, 32) / 255
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1], 0.01)
    layers = [image]
    for factor in factors:
        crop = int(np.ceil(32 / factor))
        top = (32 - crop) // 2
        layers.append(ndimage.zoom(image[top : top + crop, top : top + crop], (factor, factor, 1), order=1)[:32, :32])
    np.testing.assert_allclose(raw("zoom_blur", image, "cifar", severity), np.mean(layers, axis=0), atol=1e-9)


def test_brightness_and_saturate_move_value_and_saturation_alone() -> None:
    image = photograph(32, 32) / 255
    pixel = tuple(image[5, 7])
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    brighter = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.15, 1))
    paler = colorsys.hsv_to_rgb(hue, saturation * 0.3, value)
    np.testing.assert_allclose(raw("brightness", image, "cifar", 3)[5, 7], brighter, atol=1e-9)
    np.testing.assert_allclose(raw("saturate", image, "cifar", 1)[5, 7], paler, atol=1e-9)


def test_contrast_keeps_each_channels_mean_and_scales_its_deviation() -> None:
    image = photograph(32, 32) / 255
    out = raw("contrast", image, "cifar", 5)
    np.testing.assert_allclose(out.mean(axis=(0, 1)), image.mean(axis=(0, 1)))
    np.testing.assert_allclose(out.std(axis=(0, 1)), 0.15 * image.std(axis=(0, 1)))


@pytest.mark.parametrize("constants_set", SETS)
@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur", "elastic_transform"])
def test_a_blur_keeps_a_constant_image(name: str, constants_set: str) -> None:
    for severity in (1, 5):
        out = raw(name, np.full((40, 36, 3), 0.3), constants_set, severity)
        # The published disk of radius 10 touches its frame, and smoothing it there adds 1 %.
        tolerance = 0.004 if (name, constants_set, severity) == ("defocus_blur", "imagenet", 5) else 1e-6
        np.testing.assert_allclose(out, 0.3, atol=tolerance)


def test_motion_blur_spreads_a_point_over_a_half_gaussian_ray() -> None:
    point = np.zeros((41, 41, 3))
    point[20, 20] = 1.0
    out = raw("motion_blur", point, "cifar", 5)[..., 0]
    weights = np.exp(-(np.arange(19) ** 2) / (2 * 2.5**2))
    assert out.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(np.sort(out[out > 0])[::-1], weights / weights.sum(), atol=1e-12)


@pytest.mark.parametrize(("constants_set", "severity"), [("cifar", 5), ("imagenet", 3), ("imagenet", 5)])
def test_glass_blur_does_what_the_published_assignment_through_views_does(constants_set: str, severity: int) -> None:
    image = photograph(40, 33) / 255
    deviation, reach, rounds = corruptions.get("glass_blur").constants(constants_set, severity)
    rng = np.random.default_rng(4)
    pixels = np.floor(gaussian(image, sigma=deviation, channel_axis=-1) * 255) / 255
    for _ in range(rounds):
        steps = rng.integers(-reach, reach, size=(2, 40 - 2 * reach, 33 - 2 * reach))
        for place in np.ndindex(*steps.shape[1:]):
            h, w = 40 - reach - place[0], 33 - reach - place[1]
            y, x = h + steps[0][place], w + steps[1][place]
            pixels[h, w], pixels[y, x] = pixels[y, x], pixels[h, w]
    expected = gaussian(pixels, sigma=deviation, channel_axis=-1)
    np.testing.assert_allclose(raw("glass_blur", image, constants_set, severity, seed=4), expected, atol=1e-12)


def test_elastic_displacements_have_the_published_amplitude() -> None:
    # On a ramp to the right, the change is the displacement to the right.
    amplitude, smoothness = 0.1, 0.04
    ramp = np.broadcast_to(np.linspace(0, 1, 200)[None, :, None], (200, 200, 3))
    out = corruptions.get("elastic_transform")(ramp, np.random.default_rng(0), amplitude, smoothness, 0.0)
    pixels = ((out - ramp) * 199)[40:-40, 40:-40, 0]
    offsets = np.arange(-24, 25)
    weights = np.exp(-(offsets**2) / (2 * (smoothness * 200) ** 2))
    expected = amplitude * 200 / 3**0.5 * ((weights / weights.sum()) ** 2).sum()
    assert pixels.std() == pytest.approx(expected, rel=0.25)


def test_elastic_transform_is_affine_at_cifars_first_severity() -> None:
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 32)[None, :, None], (32, 32, 3))
    out = raw("elastic_transform", ramp, "cifar", 1)[10:22, 10:22, 0]
    assert np.abs(np.diff(out, n=2, axis=0)).max() < 1e-3
    assert np.abs(np.diff(out, n=2, axis=1)).max() < 1e-3
    assert np.abs(out - ramp[10:22, 10:22, 0]).max() > 1e-3


@pytest.mark.parametrize("side", [32, 224])
def test_frost_adds_part_of_a_photograph_in_proportion(side: int) -> None:
    constants_set = corruptions.constants_set(side, side)
    keep, ice = {"cifar": (0.9, 0.4), "imagenet": (0.7, 0.7)}[constants_set]
    frost = raw("frost", np.zeros((side, side, 3)), constants_set, 3)
    np.testing.assert_allclose(raw("frost", np.ones((side, side, 3)), constants_set, 3), frost + keep, atol=1e-12)
    levels = frost / ice * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-9)
    assert levels.std() > 5


def test_frost_takes_any_part_of_any_of_five_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def number_and_place(number: int, scale: float, height: int, width: int) -> np.ndarray:
        return np.stack(np.broadcast_arrays(number, *np.mgrid[:42, :52]), axis=-1)

    monkeypatch.setattr(weather, "_frost_picture", number_and_place)
    corners = [raw("frost", np.zeros((32, 32, 3)), "cifar", 5, seed)[0, 0] / 0.45 * 255 for seed in range(200)]
    offsets = [{round(value) for value in axis} for axis in zip(*corners, strict=True)]
    assert offsets == [set(range(5)), set(range(10)), set(range(20))]


def test_frost_pictures_are_enlarged_for_images_that_would_not_fit() -> None:
    out = raw("frost", np.zeros((700, 64, 3)), "cifar", 1)
    assert out.shape == (700, 64, 3)
    assert out.max() > 0


def test_fog_keeps_the_brightest_value_as_its_ceiling() -> None:
    image = photograph(32, 32) / 255 * 0.6
    for severity in range(1, 6):
        assert raw("fog", image, "cifar", severity).max() <= image.max() + 1e-12
    np.testing.assert_array_equal(raw("fog", np.zeros((32, 32, 3)), "cifar", 5), 0.0)


def published_snow(image: np.ndarray, constants: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Snow as the published code makes it, on pictures of 8 bits, with ImageMagick's motion blur as loops in integers.

    Its Q16 build multiplies levels by 257, rounds the blurred ones, and truncates them to 8 bits again.
    """
    mean, deviation, zoom, threshold, radius, spread, keep = constants
    side = len(image)
    crop = int(np.ceil(side / zoom))
    top = (side - crop) // 2
    noise = rng.normal(mean, deviation, (side, side))
    noise = ndimage.zoom(noise[top : top + crop, top : top + crop], (zoom, zoom), order=1)
    trim = (len(noise) - side) // 2
    noise = noise[trim : trim + side, trim : trim + side]
    noise[noise < threshold] = 0
    flakes = (np.clip(noise, 0, 1) * 255).astype(np.uint8)
    angle = np.radians(rng.uniform(-135, -45))
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * spread**2))
    blurred = np.zeros((side, side))
    for step, weight in enumerate(weights / weights.sum()):
        down, right = (int(np.ceil(step * part - 0.5)) for part in (np.sin(angle), np.cos(angle)))
        rows, columns = (np.clip(np.arange(side) + move, 0, side - 1) for move in (down, right))
        blurred += weight * 257.0 * flakes[np.ix_(rows, columns)]
    layer = (np.floor(blurred + 0.5).astype(np.uint16) // 257)[..., None] / 255.0
    gray = (0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2])[..., None]
    snowy = keep * image + (1 - keep) * np.maximum(image, gray * 1.5 + 0.5)
    return np.clip(snowy + layer + np.rot90(layer, k=2), 0, 1) * 255


@pytest.mark.parametrize(("constants_set", "side"), [("cifar", 32), ("imagenet", 120)])
@pytest.mark.parametrize("severity", range(1, 6))
def test_snow_is_the_published_code_line_by_line(constants_set: str, side: int, severity: int) -> None:
    image = photograph(side, side) / 255
    constants = corruptions.get("snow").constants(constants_set, severity)
    expected = published_snow(image, constants, np.random.default_rng(5)).astype(np.uint8)
    ours = (np.clip(raw("snow", image, constants_set, severity, seed=5), 0, 1) * 255).astype(np.uint8)
    assert (ours == expected).mean() > 0.999


def test_a_sky_full_of_snow_stays_white_under_the_motion_blur() -> None:
    snow = corruptions.get("snow")
    out = snow(np.zeros((40, 40, 3)), np.random.default_rng(0), 5.0, 0.1, 1.0, 0.5, 12, 8.0, 1.0)
    np.testing.assert_array_equal(out, 2.0)


def saved_and_opened(levels: np.ndarray) -> np.ndarray:
    """A picture [H,W,C] or [H,W] uint8 saved and opened as the published code does it."""
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="JPEG", quality=85, optimize=True)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("name", ["gaussian_noise", "jpeg_compression", "fog"])
def test_large_images_go_through_the_published_jpeg_and_small_ones_do_not(name: str) -> None:
    for side, published in ((80, saved_and_opened), (32, lambda levels: levels)):
        images = np.moveaxis(photograph(side, side), -1, 0)[None]
        arrays = corruptions.corrupt(images, name, 3, seed=0, indices=np.arange(1), jpeg=False)
        files = corruptions.corrupt(images, name, 3, seed=0, indices=np.arange(1))
        np.testing.assert_array_equal(np.moveaxis(files[0], 0, -1), published(np.moveaxis(arrays[0], 0, -1).copy()))


def test_a_large_gray_image_goes_through_a_gray_jpeg() -> None:
    images = np.moveaxis(photograph(80, 72), -1, 0)[None, :1]
    arrays = corruptions.corrupt(images, "shot_noise", 2, seed=0, indices=np.arange(1), jpeg=False)
    np.testing.assert_array_equal(corrupt(images, "shot_noise", 2)[0, 0], saved_and_opened(arrays[0, 0]))


def test_jpeg_takes_a_quarter_of_strong_noise_off_a_large_photograph() -> None:
    images = np.moveaxis(photograph(224, 224), -1, 0)[None]
    strengths = [
        np.sqrt(((made.astype(float) - images) ** 2).mean())
        for made in (
            corruptions.corrupt(images, "gaussian_noise", 3, seed=0, indices=np.arange(1), jpeg=jpeg)
            for jpeg in (False, True)
        )
    ]
    assert strengths[1] / strengths[0] == pytest.approx(0.73, abs=0.03)


def test_snow_and_water_only_brighten_and_mud_covers() -> None:
    image = photograph(32, 32) / 255
    assert (raw("snow", image, "cifar", 3) >= image - 1e-12).all()
    assert (raw("spatter", image, "cifar", 3) >= image - 1e-12).all()
    muddy = raw("spatter", np.ones_like(image), "cifar", 5)
    covered = muddy[..., 0] < 1
    assert 0.01 < covered.mean() < 0.9
    np.testing.assert_allclose((1 - muddy[covered]) / (1 - np.array([63, 42, 20]) / 255) / 0.9, 1, atol=0.12)
