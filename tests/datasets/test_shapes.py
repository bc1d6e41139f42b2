"""`shapes`: generated images, and what in them tells the class."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from datasets import shapes
from datasets.shapes import OUTLINES, Shapes
from harness.errors import UserError
from harness.registry import datasets as registry
from harness.types import Split


@pytest.fixture(scope="module")
def generated() -> Shapes:
    return Shapes()


def test_shapes_are_rgb_images_of_ten_equally_frequent_classes(generated: Shapes) -> None:
    for split, each in ((generated.train(), 400), (generated.test(), 100)):
        assert split.images.dtype == np.uint8
        assert split.images.shape == (10 * each, 3, 32, 32)
        assert split.labels.dtype == split.indices.dtype == np.int64
        assert np.array_equal(np.bincount(split.labels), np.full(10, each))
        assert np.array_equal(split.indices, np.arange(10 * each))
    assert len(generated.classes) == 10


def test_shapes_take_less_than_three_seconds() -> None:
    start = time.process_time()
    fresh = Shapes(seed=5)
    fresh.train()
    fresh.test()
    assert time.process_time() - start < 3


def test_shapes_depend_on_the_seed_alone(generated: Shapes) -> None:
    np.random.seed(3)  # noqa: NPY002 (the global state must not matter)
    again, other = Shapes(seed=0), registry.create("shapes:seed=1")
    assert again.test().digest == generated.test().digest
    assert np.array_equal(again.test().images, generated.test().images)
    assert other.test().digest != generated.test().digest
    assert (generated.name, other.name) == ("shapes", "shapes:seed=1")


def test_shapes_seed_0_never_changes(generated: Shapes) -> None:
    """Recorded results refer to these images; if NumPy's generators change, so must the data set's name."""
    assert generated.train().digest[:16] == "166cbc5253d7a3af"
    assert generated.test().digest[:16] == "9c2fca0f1f8159a5"


def test_training_and_test_shapes_are_disjoint_draws(generated: Shapes) -> None:
    train = {image.tobytes() for image in generated.train().images}
    test = {image.tobytes() for image in generated.test().images}
    assert len(train) == 4000
    assert len(test) == 1000
    assert not train & test
    assert not np.array_equal(generated.train().labels[:1000], generated.test().labels)


def test_a_split_is_generated_once(generated: Shapes) -> None:
    assert generated.train() is generated.train()


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match="seed must be 0 or more, got -1"):
        registry.create("shapes:seed=-1")


# What tells the class, and what does not


def _colour_features(images: np.ndarray) -> np.ndarray:
    """Per channel: mean, spread, an eight-bin histogram, mean and spread of the outermost pixels; products."""
    n = len(images)
    values = images.reshape(n, 3, -1).astype(float) / 255
    bins = np.stack([((values * 8).astype(int).clip(0, 7) == k).mean(2) for k in range(8)], axis=2).reshape(n, -1)
    frame = np.concatenate([images[:, :, [0, -1]].reshape(n, 3, -1), images[..., [0, -1]].reshape(n, 3, -1)], 2) / 255
    simple = np.hstack([values.mean(2), values.std(2), frame.mean(2), frame.std(2)])
    products = np.einsum("ni,nj->nij", simple, simple).reshape(n, -1)
    return np.hstack([simple, bins, products])


def _accuracy(train: Split, test: Split, features: object) -> float:
    """Test accuracy of a linear classifier, ridge regression onto one-hot labels."""
    x, y = (features(split.images) for split in (train, test))  # type: ignore[operator]
    mean, spread = x.mean(0), x.std(0) + 1e-9
    x, y = (np.hstack([(part - mean) / spread, np.ones((len(part), 1))]) for part in (x, y))
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ np.eye(10)[train.labels])
    return float(((y @ weights).argmax(1) == test.labels).mean())


def _outline_features(images: np.ndarray) -> np.ndarray:
    """How far each 4×4 block is from the frame's colour: position and outline, coarsely."""
    blocks = images.reshape(len(images), 3, 8, 4, 8, 4).mean((3, 5)) / 255
    frame = blocks[:, :, [0, -1]].mean((2, 3), keepdims=True)
    return np.sqrt(np.square(blocks - frame).sum(1)).reshape(len(images), -1)


CHANCE = 0.1 + 3.3 * np.sqrt(0.1 * 0.9 / 1000)
"""What guessing exceeds on 1,000 test images once in two thousand times."""


def test_colour_and_background_carry_no_class(generated: Shapes) -> None:
    assert _accuracy(generated.train(), generated.test(), _colour_features) < CHANCE


def test_the_outline_is_seen_by_a_classifier_that_colour_does_not_help(generated: Shapes) -> None:
    """The control for the test above: the same classifier does learn where there is something to learn."""
    assert _accuracy(generated.train(), generated.test(), _outline_features) > 3 * CHANCE


def test_class_means_and_spreads_agree(generated: Shapes) -> None:
    """One-way analysis of variance by hand: between-class variance is what chance leaves of it."""
    train = generated.train()
    for statistic in (train.images.mean((1, 2, 3)), train.images.std((1, 2, 3))):
        means = np.array([statistic[train.labels == label].mean() for label in range(10)])
        ratio = 400 * means.var(ddof=1) / statistic.var()
        assert ratio < 3.1  # the F distribution with 9 and 3,990 degrees of freedom: p < 0.001


@pytest.mark.parametrize("name", OUTLINES)
def test_every_outline_has_area_one_around_the_origin(name: str) -> None:
    x, y = np.meshgrid(*[np.linspace(-1.5, 1.5, 1201)] * 2)
    inside = OUTLINES[name](x, y) < 0
    cell = (3 / 1200) ** 2
    assert inside.sum() * cell == pytest.approx(1, abs=0.005)
    assert (x[inside].sum() * cell, y[inside].sum() * cell) == pytest.approx((0, 0), abs=0.005)


@pytest.mark.parametrize("name", OUTLINES)
def test_every_outline_is_a_distance(name: str) -> None:
    """No farther from the outline than the step taken, and at the outline exactly that far."""
    x, y = np.meshgrid(*[np.linspace(-1.5, 1.5, 301)] * 2)
    distance = OUTLINES[name](x, y)
    slopes = np.abs(np.diff(distance, axis=1)) / 0.01
    assert slopes.max() < 1.01
    assert np.abs(np.gradient(distance, 0.01)).max() > 0.95


@pytest.mark.parametrize("name", OUTLINES)
def test_no_object_reaches_the_outermost_pixels(name: str) -> None:
    """Else the frame would tell far-reaching outlines from compact ones."""
    x, y, turn = (part.ravel() for part in np.meshgrid(*[np.linspace(-1, 1, 5)] * 3))
    size = np.full(x.shape, np.sqrt(shapes.AREA) * shapes.SCALE[1])
    poses = shapes.Poses(shapes.SHIFT * x, shapes.SHIFT * y, shapes.TURN * turn, size)
    coverage = shapes._coverage(OUTLINES[name], poses)
    assert not coverage[:, [0, -1]].any()
    assert not coverage[..., [0, -1]].any()


@pytest.mark.parametrize("name", OUTLINES)
def test_edges_are_antialiased(name: str) -> None:
    pose = shapes.Poses(*(np.full(1, value) for value in (0.3, -0.6, 0.1, np.sqrt(shapes.AREA))))
    coverage = shapes._coverage(OUTLINES[name], pose)
    assert coverage.sum() == pytest.approx(shapes.AREA, rel=0.02)
    assert 0.02 < ((coverage > 0.01) & (coverage < 0.99)).mean() < 0.2


def test_neighbouring_pixels_are_rarely_equal(generated: Shapes) -> None:
    """Equal neighbours never enter ViRoLBI's support, so flat areas would keep images from their level."""
    images = generated.train().images
    for first, second in ((images[..., 1:], images[..., :-1]), (images[:, :, 1:], images[:, :, :-1])):
        assert (first == second).all(axis=1).mean((1, 2)).max() < 0.05


def test_stated_normalisation_is_that_of_the_images(generated: Shapes) -> None:
    values = generated.train().images / 255
    assert values.mean((0, 2, 3)) == pytest.approx(generated.mean, abs=0.01)
    assert values.std((0, 2, 3)) == pytest.approx(generated.std, abs=0.01)


def test_a_small_plain_network_learns_the_outlines_and_noise_hurts_it(generated: Shapes) -> None:
    network = _trained_network(generated.train())
    images, labels = torch.tensor(generated.test().images) / 255, torch.tensor(generated.test().labels)
    noise = 0.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        clean = (network(images).argmax(1) == labels).float().mean()
        noisy = (network((images + noise).clamp(0, 1)).argmax(1) == labels).float().mean()
    assert clean >= 0.95
    assert noisy < 0.7


def _trained_network(train: Split) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            *_block(3, 12, stride=2), *_block(12, 24), nn.MaxPool2d(2), *_block(24, 48), nn.MaxPool2d(2),
            *_block(48, 48), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(48, 10),
        )  # fmt: skip
    images, labels = torch.tensor(train.images) / 255, torch.tensor(train.labels)
    order = torch.Generator().manual_seed(0)
    batches = [rows for _ in range(3) for rows in torch.randperm(len(labels), generator=order).split(64)]
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=len(batches))
    for rows in batches:
        loss = nn.functional.cross_entropy(network(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def _block(before: int, after: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
