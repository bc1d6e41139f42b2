"""The suites that need no model: clean, corruption, low resolution, frequency."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from support.rounding import transformed

from harness import corruptions
from harness.errors import UserError
from harness.registry import suites
from harness.suites.base import Suite, SuiteContext
from harness.suites.frequency import HEADLINE_RADIUS, frequency_part
from harness.suites.low_resolution import reduce_and_enlarge
from harness.types import Condition, Split

NAMES = ("clean", "corruption", "low_resolution", "frequency")


@dataclasses.dataclass
class Photographs:
    """A data set that may hold official files, by (name, severity)."""

    files: dict[tuple[str, int], np.ndarray] = dataclasses.field(default_factory=dict)

    def official(self, corruption: str, severity: int) -> str | None:
        held = self.files.get((corruption, severity))
        return None if held is None else hashlib.sha256(held.tobytes()).hexdigest()

    def corrupted(self, corruption: str, severity: int, indices: np.ndarray) -> np.ndarray:
        return self.files[corruption, severity][indices]


def images(count: int = 6, height: int = 32, width: int = 32) -> np.ndarray:
    """Random images [N,3,H,W] uint8, smooth enough to have low frequencies."""
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (count, 3, height, width)) // 2 + np.arange(width) * 120 // width).astype(np.uint8)


def context(pixels: np.ndarray | None = None, *, dataset: object = None, **options: object) -> SuiteContext:
    pixels = images() if pixels is None else pixels
    split = Split(
        images=pixels, labels=np.zeros(len(pixels), np.int64), indices=np.arange(len(pixels)), digest="of the test"
    )
    return SuiteContext(dataset=dataset or Photographs(), split=split, seed=0, **options)


def perturb(suite: Suite, condition: Condition, where: SuiteContext, rows: list[int] | None = None) -> torch.Tensor:
    chosen = np.arange(len(where.split)) if rows is None else np.array(rows)
    return suite.perturb(chosen, condition, where, None)


@pytest.mark.parametrize("size", [(32, 32), (20, 33), (80, 70)])
@pytest.mark.parametrize("name", NAMES)
def test_every_condition_gives_float_images_and_leaves_the_split_alone(name: str, size: tuple[int, int]) -> None:
    suite, where = suites.create(name), context(images(2, *size))
    kept = where.split.images.copy()
    for condition in suite.conditions(where):
        out = perturb(suite, condition, where)
        assert out.dtype == torch.float32
        assert out.shape == (2, 3, *size)
        assert torch.isfinite(out).all()
    np.testing.assert_array_equal(where.split.images, kept)
    assert not suite.needs_model


@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_its_batch_mates(name: str) -> None:
    suite, where = suites.create(name), context()
    for condition in suite.conditions(where):
        together = perturb(suite, condition, where)
        torch.testing.assert_close(
            perturb(suite, condition, where, [4, 1]), together[[4, 1]], rtol=0, atol=transformed(1024)
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_subset_of_the_test_images_is_perturbed_as_in_the_full_split(name: str) -> None:
    suite, where = suites.create(name), context()
    part = dataclasses.replace(where, split=where.split.take(3))
    for condition in suite.conditions(part):
        expected = perturb(suite, condition, where)[torch.from_numpy(part.split.indices)]
        torch.testing.assert_close(perturb(suite, condition, part), expected, rtol=0, atol=transformed(1024))


@pytest.mark.parametrize("name", NAMES)
def test_conditions_have_distinct_names_and_plain_parameters(name: str) -> None:
    conditions = suites.create(name).conditions(context(corruptions=("all",)))
    assert len({(condition.name, condition.severity) for condition in conditions}) == len(conditions)
    assert len({json.dumps(condition.parameters, allow_nan=False) for condition in conditions}) == len(conditions)


def test_clean_images_are_the_test_images() -> None:
    where = context()
    (condition,) = suites.create("clean").conditions(where)
    out = perturb(suites.create("clean"), condition, where, [2, 0])
    np.testing.assert_allclose(out.numpy() * 255, where.split.images[[2, 0]], atol=1e-4)
    assert condition == Condition("clean")


def test_the_papers_three_corruptions_at_five_severities_are_the_default() -> None:
    conditions = suites.create("corruption").conditions(context())
    expected = [(name, s) for name in ("gaussian_noise", "shot_noise", "impulse_noise") for s in range(1, 6)]
    assert [(condition.name, condition.severity) for condition in conditions] == expected
    assert {condition.source for condition in conditions} == {"generated"}


def test_corruptions_are_chosen_by_the_run_and_severities_by_the_suite() -> None:
    everything = suites.create("corruption").conditions(context(corruptions=("all",)))
    some = suites.create("corruption:severities=2/1/2").conditions(context(corruptions=("fog", "fog")))
    assert [condition.name for condition in everything[::5]] == [*corruptions.COMMON, *corruptions.EXTRA]
    assert len(everything) == 95
    assert [(condition.name, condition.severity) for condition in some] == [("fog", 2), ("fog", 1)]


def test_a_condition_names_the_constants_it_is_made_with() -> None:
    suite = suites.create("corruption:severities=5,noise_seed=3")
    (small,) = suite.conditions(context(corruptions=("gaussian_noise",)))
    (large,) = suite.conditions(context(images(1, 80, 80), corruptions=("gaussian_noise",)))
    assert small.parameters == {
        "corruption": "gaussian_noise",
        "severity": 5,
        "source": "generated",
        "set": "cifar",
        "constants": [0.10],
        "noise_seed": 3,
    }
    assert large.parameters["set"] == "imagenet"
    assert large.parameters["constants"] == [0.38]
    assert large.parameters["jpeg"] == 85


def test_a_corruption_whose_code_changed_says_its_version() -> None:
    snow, fog = (
        suites.create("corruption:severities=2").conditions(context(corruptions=(name,)))[0] for name in ("snow", "fog")
    )
    assert snow.parameters["version"] == 2
    assert "version" not in fog.parameters


def test_the_jpeg_step_is_an_option_and_named_where_it_matters() -> None:
    large, small = context(images(2, 80, 80), corruptions=("contrast",)), context(corruptions=("contrast",))
    usual, without = (suites.create(f"corruption:severities=4{more}") for more in ("", ",jpeg=false"))
    (with_step,), (left_out,) = usual.conditions(large), without.conditions(large)

    for suite, condition, jpeg in ((usual, with_step, True), (without, left_out, False)):
        expected = corruptions.corrupt(large.split.images, "contrast", 4, seed=0, indices=np.arange(2), jpeg=jpeg)
        np.testing.assert_allclose(perturb(suite, condition, large).numpy() * 255, expected, atol=1e-4)
    assert with_step.parameters != left_out.parameters
    assert (with_step.source, left_out.source) == ("generated, then JPEG of quality 85", "generated, without JPEG")
    assert usual.conditions(small)[0] == without.conditions(small)[0]
    assert (usual.label, without.label) == ("corruption:severities=4", "corruption:severities=4,jpeg=false")


def test_generated_corruptions_are_drawn_from_the_noise_seed_and_the_images_place() -> None:
    where = context(corruptions=("shot_noise",))
    split = dataclasses.replace(where.split, indices=np.arange(6) * 10)
    where = dataclasses.replace(where, split=split)
    for seed in (0, 3):
        suite = suites.create(f"corruption:severities=4,noise_seed={seed}")
        (condition,) = suite.conditions(where)
        expected = corruptions.corrupt(split.images[1:3], "shot_noise", 4, seed=seed, indices=np.array([10, 20]))
        np.testing.assert_allclose(perturb(suite, condition, where, [1, 2]).numpy() * 255, expected, atol=1e-4)


def test_official_images_are_taken_by_their_place_in_the_full_split() -> None:
    official = images(20)[::-1].copy()
    where = context(dataset=Photographs({("snow", 2): official}), corruptions=("snow",))
    split = dataclasses.replace(where.split, indices=np.array([1, 3, 5, 7, 9, 19]))
    where = dataclasses.replace(where, split=split)
    suite = suites.create("corruption:severities=2/3")
    held, made = suite.conditions(where)
    assert (held.source, made.source) == ("official", "generated")
    np.testing.assert_allclose(perturb(suite, held, where, [5, 1]).numpy() * 255, official[[19, 3]], atol=1e-4)


def test_another_official_file_is_another_condition() -> None:
    suite = suites.create("corruption:severities=1")
    first, second = (
        suite.conditions(context(dataset=Photographs({("fog", 1): file}), corruptions=("fog",)))
        for file in (images(6), 255 - images(6))
    )
    assert first[0].parameters["source"] == "official"
    assert first != second


def test_planning_decodes_no_official_image(monkeypatch: pytest.MonkeyPatch) -> None:
    where = context(dataset=Photographs({("fog", 1): images()}), corruptions=("fog",))
    monkeypatch.setattr(Photographs, "corrupted", lambda *_: pytest.fail("decoded"))
    (condition,) = suites.create("corruption:severities=1").conditions(where)
    assert condition.source == "official"


def test_official_images_of_another_form_are_refused() -> None:
    where = context(dataset=Photographs({("fog", 1): images(6, 16, 16)}), corruptions=("fog",))
    suite = suites.create("corruption:severities=1")
    (condition,) = suite.conditions(where)
    with pytest.raises(UserError, match=r"official images of fog, severity 1, have shape \[2, 3, 16, 16\]; expected"):
        perturb(suite, condition, where, [0, 3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corruption:severities=1/6", "severity must be 1–5, got 6"),
        ("corruption:noise_seed=-1", "noise_seed of corruption must be 0 or more, got -1"),
        ("low_resolution:factors=2/1", "2 or more, got 1"),
        ("low_resolution:filter=cubic", "filter must be one of bilinear, nearest"),
        ("frequency:radii=4/0", "above 0, got 0"),
        ("frequency:radii=nan", "above 0, got nan"),
        ("clean:x=1", "no parameter 'x'"),
    ],
)
def test_wrong_parameters_are_refused_with_what_came(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        suites.create(text)


def test_an_unknown_corruption_is_refused_with_near_names() -> None:
    with pytest.raises(UserError, match="Did you mean fog"):
        suites.create("corruption").conditions(context(corruptions=("fogg",)))


def test_low_resolution_has_the_papers_factors_for_either_size() -> None:
    suite = suites.create("low_resolution")
    assert [condition.name for condition in suite.conditions(context())] == ["scale=1/4", "scale=1/2"]
    large = suite.conditions(context(images(1, 96, 96)))
    assert [condition.name for condition in large] == ["scale=1/7", "scale=1/4"]
    chosen = suites.create("low_resolution:factors=3/5,filter=nearest").conditions(context())
    assert [condition.parameters for condition in chosen] == [
        {"factor": 3, "filter": "nearest"},
        {"factor": 5, "filter": "nearest"},
    ]


@pytest.mark.parametrize("filter_name", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(32, 32), (31, 18), (3, 2)])
@pytest.mark.parametrize("factor", [2, 4, 7])
def test_low_resolution_keeps_a_constant_image(filter_name: str, size: tuple[int, int], factor: int) -> None:
    flat = torch.full((1, 3, *size), 0.3)
    out = reduce_and_enlarge(flat, factor=factor, filter=filter_name)
    torch.testing.assert_close(out, flat)


@pytest.mark.parametrize("filter_name", ["bilinear", "nearest"])
@pytest.mark.parametrize("factor", [2, 4])
def test_low_resolution_leaves_blocks_of_one_value(filter_name: str, factor: int) -> None:
    out = reduce_and_enlarge(torch.rand(2, 3, 32, 32), factor=factor, filter=filter_name)
    blocks = out.unfold(2, factor, factor).unfold(3, factor, factor).flatten(4)
    assert (blocks == blocks[..., :1]).all()
    assert len(blocks[0, 0, ..., 0].unique()) > 10


def test_low_resolution_reduces_as_pillow_does() -> None:
    from PIL import Image

    channel = np.random.default_rng(1).random((32, 32)).astype(np.float32)
    for factor in (2, 4):
        side = 32 // factor
        expected = np.asarray(Image.fromarray(channel).resize((side, side), Image.Resampling.BILINEAR))
        out = reduce_and_enlarge(torch.from_numpy(channel)[None, None], factor=factor)
        np.testing.assert_allclose(out[0, 0, ::factor, ::factor].numpy(), expected, atol=1e-5)


def test_nearest_reduction_keeps_one_pixel_of_each_block() -> None:
    image = torch.rand(1, 1, 8, 8)
    out = reduce_and_enlarge(image, factor=4, filter="nearest")
    blocks = image.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert (blocks == out[:, :, ::4, ::4, None]).any(dim=-1).all()


def test_frequency_has_both_parts_of_every_radius() -> None:
    names = [condition.name for condition in suites.create("frequency").conditions(context())]
    assert names == [f"{part} r={radius}" for part in ("low", "high") for radius in (4, 6, 8, 12, 16)]
    assert f"low r={HEADLINE_RADIUS:g}" in names
    (low, _) = suites.create("frequency:radii=2.5,clip=true").conditions(context())
    assert low == Condition("low r=2.5", parameters={"part": "low", "radius": 2.5, "clip": True})


@pytest.mark.parametrize("size", [(32, 32), (28, 40), (31, 17)])
@pytest.mark.parametrize("radius", [1.0, 6.0, 12.0, 40.0])
def test_low_and_high_frequencies_add_up_in_values_and_in_energy(size: tuple[int, int], radius: float) -> None:
    pixels = torch.rand(2, 3, *size, dtype=torch.float64)
    low = frequency_part(pixels, part="low", radius=radius)
    high = frequency_part(pixels, part="high", radius=radius)
    torch.testing.assert_close(low + high, pixels)
    torch.testing.assert_close(low.square().sum() + high.square().sum(), pixels.square().sum())


@pytest.mark.parametrize("size", [(32, 32), (12, 20)])
@pytest.mark.parametrize("radius", [4, 6])
def test_low_frequencies_agree_with_a_mask_drawn_by_hand(size: tuple[int, int], radius: int) -> None:
    height, width = size
    channel = np.random.default_rng(2).random(size)
    spectrum = np.fft.fftshift(np.fft.fft2(channel))
    for i in range(height):
        for j in range(width):
            if np.sqrt((i - height / 2) ** 2 + (j - width / 2) ** 2) >= radius:
                spectrum[i, j] = 0
    expected = np.fft.ifft2(np.fft.ifftshift(spectrum)).real
    out = frequency_part(torch.from_numpy(channel)[None, None], part="low", radius=radius)
    np.testing.assert_allclose(out[0, 0].numpy(), expected, atol=1e-12)


def test_a_wave_belongs_to_one_part() -> None:
    wave = torch.cos(2 * torch.pi * 6 * torch.arange(32) / 32).expand(1, 1, 32, 32)
    assert frequency_part(wave, part="low", radius=6).abs().max() < 1e-5
    torch.testing.assert_close(frequency_part(wave, part="low", radius=6.1), wave, rtol=0, atol=1e-5)


def test_high_frequencies_leave_the_unit_range_unless_clipped() -> None:
    where = context()
    free, clipped = suites.create("frequency:radii=6"), suites.create("frequency:radii=6,clip=true")
    unclipped = perturb(free, free.conditions(where)[1], where)
    assert unclipped.min() < 0
    expected = unclipped.clamp(0, 1)
    torch.testing.assert_close(perturb(clipped, clipped.conditions(where)[1], where), expected)
