"""ViRoLBI's training procedures: which images each epoch trains on, what is kept, how test images are preprocessed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from defenses.virolbi import smooth
from defenses.virolbi.training import Schedule, smoothed_images
from harness import registry
from harness.cache import ArrayCache, digest_of
from harness.errors import UserError
from harness.types import Split


@pytest.fixture
def cache(tmp_path):
    return ArrayCache(tmp_path)


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 200, (5, 3, 3, 3)).repeat(4, 2).repeat(4, 3)
    images = (coarse + rng.integers(-20, 20, coarse.shape)).astype(np.uint8)
    return Split(images=images, labels=np.arange(5), indices=np.arange(5), digest="d" * 64)


def smoothed(split: Split, **options: float) -> np.ndarray:
    return np.rint(smooth(split.images, **options).images * 255).astype(np.uint8)


def test_fixed_training_sees_the_images_smoothed_to_its_level(split, cache):
    defense = registry.defenses.create("virolbi_fixed:nu=4,level=0.5")

    images = defense.training_images(split, epoch=1, epochs=3, cache=cache)

    np.testing.assert_array_equal(images, smoothed(split, nu=4, level=0.5))
    assert defense.keep(epoch=2, epochs=3) is None


def test_iterative_training_goes_along_the_path(split, cache):
    defense = registry.defenses.create("virolbi_iterative:steps=3,start=0.2,end=0.6")

    for epoch, level in enumerate([0.2, 0.2, 0.4, 0.4, 0.6, 0.6]):
        images = defense.training_images(split, epoch=epoch, epochs=6, cache=cache)
        np.testing.assert_array_equal(images, smoothed(split, level=level))


def test_iterative_training_keeps_the_network_at_the_end_of_each_level():
    defense = registry.defenses.create("virolbi_iterative")

    kept = [defense.keep(epoch=epoch, epochs=12) for epoch in range(12)]

    assert kept[1::2] == ["level=0.3", "level=0.4", "level=0.5", "level=0.6", "level=0.7", "level=0.8"]
    assert kept[::2] == [None] * 6


@pytest.mark.parametrize(("level", "levels"), [(0.6, [0.3, 0.4, 0.5, 0.6]), (0.3, [0.15, 0.2, 0.25, 0.3])])
def test_stopped_iterative_training_ends_at_the_level_of_its_test(split, cache, level, levels):
    """As it is named, and where the run gives it the usual level of large images."""
    defense = registry.defenses.create(registry.defenses.canonical("virolbi_iterative_stopped", level=level))

    seen = [defense.curves(epoch=epoch, epochs=8)["level"] for epoch in range(8)]
    last = defense.training_images(split, epoch=7, epochs=8, cache=cache)

    assert seen == [each for each in levels for _ in range(2)]
    np.testing.assert_array_equal(last, smoothed(split, level=level))
    fixed = registry.defenses.create(f"virolbi_fixed:level={level}")
    assert defense.preprocess("virolbi") == fixed.preprocess("virolbi")
    assert defense.keep(epoch=7, epochs=8) == f"level={level:g}"


def test_what_stopped_iterative_training_settles_itself_cannot_be_set():
    with pytest.raises(UserError, match="has no parameter 'end'"):
        registry.defenses.create("virolbi_iterative_stopped:end=0.8")


def test_incremental_training_starts_from_the_plain_images(split, cache):
    defense = registry.defenses.create("virolbi_incremental:steps=2,start=0.3,end=0.5,pretrain=0.4")

    seen = [defense.training_images(split, epoch=epoch, epochs=5, cache=cache) for epoch in range(5)]

    for epoch in (0, 1):
        np.testing.assert_array_equal(seen[epoch], split.images)
    for epoch, level in ((2, 0.3), (3, 0.5), (4, 0.5)):
        np.testing.assert_array_equal(seen[epoch], smoothed(split, level=level))
    kept = [defense.keep(epoch=epoch, epochs=5) for epoch in range(5)]
    assert kept == [None, "plain", "level=0.3", None, "level=0.5"]


@pytest.mark.parametrize("steps", [1, 2, 5, 6])
@pytest.mark.parametrize("epochs", [1, 2, 4, 6, 7, 13, 160])
def test_a_schedule_rises_evenly_and_ends_at_the_end(steps, epochs):
    schedule = Schedule(0.3, 0.8, steps)

    positions = [schedule.position(epoch, epochs) for epoch in range(epochs)]
    lengths = np.bincount(positions, minlength=steps)

    assert positions == sorted(positions)
    assert positions[-1] == steps - 1
    assert lengths.max() - lengths.min() <= 1
    tags = [schedule.tag(epoch, epochs) for epoch in range(epochs)]
    assert [tag for tag in tags if tag] == [f"level={schedule.levels[each]:g}" for each in sorted(set(positions))]


def test_the_levels_of_the_paper():
    assert Schedule(0.3, 0.8, 6).levels == [0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert Schedule(0.3, 0.8, 1).levels == [0.8]


def test_the_smoothed_split_is_computed_once(split, cache, monkeypatch):
    first = smoothed_images(split, [0.4, 0.6], nu=1.0, kappa=5.0, cache=cache)
    monkeypatch.setattr("defenses.virolbi.training.path", None)

    again = smoothed_images(split, [0.4, 0.6], nu=1.0, kappa=5.0, cache=cache)

    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(
    "change",
    [
        {"nu": 2.0},
        {"kappa": 4.0},
        {"levels": [0.5]},
        {"take": 3},
        {"scheme": "fast"},
        {"scheme": "exact"},
        {"exact": True},
    ],
)
def test_another_setting_or_subset_is_another_array(split, cache, change):
    def files(levels=(0.4,), nu=1.0, kappa=5.0, take=None, **options):
        smoothed_images(split.take(take), levels, nu=nu, kappa=kappa, cache=cache, **options)
        return len(list(cache.folder.glob("*.npy")))

    assert (files(), files(**change)) == (1, 2)


def test_arrays_from_before_there_were_schemes_keep_their_names(split, cache):
    smoothed_images(split, [0.4], nu=1.0, kappa=5.0, cache=cache)

    indices = hashlib.sha256(split.indices.tobytes()).hexdigest()
    key = {"data": split.digest, "indices": indices, "levels": [0.4], "nu": 1.0, "kappa": 5.0, "version": 1}
    (file,) = cache.folder.glob("*.npy")
    assert file.name == f"smoothed-{digest_of({'kind': 'smoothed', **key})[:24]}.npy"


def test_exact_images_are_the_smoothed_ones_to_the_last_bit(split, cache):
    images = smoothed_images(split, [0.4, 0.6], nu=1.0, kappa=5.0, cache=cache, exact=True, scheme="fast")

    for smoothed, level in zip(images, [0.4, 0.6], strict=True):
        assert smoothed.dtype == np.float32
        np.testing.assert_array_equal(smoothed, smooth(split.images, level=level, scheme="fast").images)


def test_a_set_of_large_images_is_smoothed_in_small_blocks(split, cache, monkeypatch):
    monkeypatch.setattr("defenses.virolbi.training._BLOCK_VALUES", 2 * split.images[0].size)

    images = smoothed_images(split, [0.4], nu=1.0, kappa=5.0, cache=cache)[0]

    np.testing.assert_array_equal(images, smoothed(split, level=0.4))


@pytest.mark.parametrize("defense", ["virolbi_fixed:scheme=fast", "virolbi_iterative:scheme=fast,end=0.6,steps=1"])
def test_training_images_follow_the_defenses_scheme(split, cache, defense):
    images = registry.defenses.create(defense).training_images(split, epoch=0, epochs=1, cache=cache)

    np.testing.assert_array_equal(images, smoothed(split, level=0.6, scheme="fast"))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("virolbi_fixed", "virolbi"),
        ("virolbi_fixed:nu=16,level=0.5", "virolbi:nu=16,level=0.5"),
        ("virolbi_iterative:nu=4", "virolbi:nu=4"),
        ("virolbi_iterative:level=0.3,kappa=4", "virolbi:level=0.3,kappa=4"),
        ("virolbi_iterative_stopped:nu=4,level=0.5", "virolbi:nu=4,level=0.5"),
        ("virolbi_incremental:nu=2", "virolbi:nu=2"),
        ("virolbi_fixed:nu=16,scheme=fast", "virolbi:nu=16,scheme=fast"),
        ("virolbi_iterative:scheme=exact", "virolbi:scheme=exact"),
    ],
)
def test_test_images_are_smoothed_with_the_defenses_own_parameters(name, label):
    assert registry.defenses.create(name).preprocess("virolbi:level=0.1") == label


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("virolbi_fixed:level=1.5", "level must be"),
        ("virolbi_fixed:level=0", "level must be above 0"),
        ("virolbi_fixed:nu=-1", "nu must be"),
        ("virolbi_fixed:scheme=fats", "unknown scheme 'fats'. Did you mean fast"),
        ("virolbi_iterative:start=0.9", "at most end"),
        ("virolbi_iterative:start=0", "above 0"),
        ("virolbi_iterative:end=1.2", "end must be"),
        ("virolbi_iterative:steps=0", "steps must be"),
        ("virolbi_iterative:kappa=nan", "kappa must be"),
        ("virolbi_incremental:pretrain=1", "pretrain must be"),
    ],
)
def test_parameters_outside_their_ranges_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        registry.defenses.create(name)


def test_a_defenses_repr_shows_how_to_make_it_again():
    assert (
        repr(registry.defenses.create("virolbi_fixed:nu=16"))
        == "ViRoLBIFixed(nu=16.0, level=0.6, kappa=5.0, scheme='paper')"
    )
