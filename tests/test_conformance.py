"""What everything registered must do, whoever wrote it."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from support.rounding import EPS, transformed

from harness import registry
from harness.attacks.base import AttackResult, Budget
from harness.cache import ArrayCache
from harness.contracts.defense import Preprocessed
from harness.contracts.model import NormalizedModel
from harness.corruptions import corrupt
from harness.suites.base import Perturbed, Suite, SuiteContext
from harness.types import Batch, Condition, Recipe, Split, TrainingState

CLASSES = 4
EPOCHS = 4
SUMMED_UP_BY_PYTORCH = {"blur": 9}
"""How many products a value is the sum of, where PyTorch's convolution may add them in another order for another batch;
what our own code or a function of single images gives must not differ by a bit."""


def images_uint8(count: int = 4, seed: int = 0) -> np.ndarray:
    """Pictures with large-scale structure and noise: [N,3,16,16]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (count, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
    return (coarse + rng.integers(-20, 20, coarse.shape)).astype(np.uint8)


def split(count: int = 4) -> Split:
    images = images_uint8(count)
    return Split(images=images, labels=np.arange(count) % CLASSES, indices=np.arange(count), digest="d" * 64)


def model() -> NormalizedModel:
    torch.manual_seed(0)
    network = registry.backbones.create("resnet_small", classes=CLASSES, image_shape=(3, 16, 16))
    return NormalizedModel(network, (0.5,) * 3, (0.25,) * 3)


def names(kind: registry.Registry) -> list[str]:
    return kind.names()


@pytest.mark.parametrize("kind", registry.ALL, ids=lambda kind: kind.plural)
def test_everything_registered_says_in_one_line_what_it_is(kind: registry.Registry) -> None:
    for entry in kind:
        assert entry.summary.endswith("."), f"{entry.name} at {entry.place}"
        assert len(entry.summary) <= 120, entry.place


@pytest.mark.parametrize("name", names(registry.defenses))
def test_a_defense_trains_every_parameter(name: str) -> None:
    defense = registry.defenses.create(name)
    protected = defense.protect(model()).train()
    defense.reseed(protected, 0)
    state = TrainingState(EPOCHS - 1, EPOCHS, torch.Generator().manual_seed(0))
    batch = Batch(torch.from_numpy(images_uint8()).float() / 255, torch.tensor([0, 1, 2, 0]), torch.arange(4))

    loss = defense.loss(protected, batch, state)
    loss.backward()

    assert loss.ndim == 0
    assert torch.isfinite(loss)
    assert protected.training
    without = [key for key, value in protected.named_parameters() if value.requires_grad and value.grad is None]
    assert not without


@pytest.mark.parametrize("name", names(registry.defenses))
def test_a_protected_model_returns_logits_and_survives_copies(name: str) -> None:
    defense = registry.defenses.create(name)
    protected = defense.protect(model()).eval()
    images = torch.from_numpy(images_uint8()).float() / 255
    twin = copy.deepcopy(protected)
    other = defense.protect(model()).eval()
    other.load_state_dict(protected.state_dict())

    logits = []
    for each in (protected, twin, other):
        defense.reseed(each, 1)
        logits.append(each(images))

    assert logits[0].shape == (4, CLASSES)
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("name", names(registry.defenses))
def test_a_defense_declared_deterministic_is_and_a_stochastic_one_is_not(name: str) -> None:
    defense = registry.defenses.create(name)
    protected = defense.protect(model()).eval()
    images = torch.from_numpy(images_uint8()).float() / 255

    assert torch.equal(protected(images), protected(images)) != defense.stochastic


@pytest.mark.parametrize("name", names(registry.defenses))
def test_a_defense_trains_on_as_many_images_as_there_are(name: str, tmp_path: object) -> None:
    defense = registry.defenses.create(name)
    given = split()

    for epoch in range(EPOCHS):
        images = defense.training_images(given, epoch=epoch, epochs=EPOCHS, cache=ArrayCache(tmp_path))
        assert images.shape == given.images.shape
        assert images.dtype == np.uint8
        tag = defense.keep(epoch=epoch, epochs=EPOCHS)
        assert tag is None or tag


@pytest.mark.parametrize("name", names(registry.defenses))
def test_a_recipe_is_one_training_can_follow(name: str) -> None:
    base = Recipe(epochs=8)
    for preset in ("quick", "paper"):
        recipe = registry.defenses.create(name).recipe(base, preset)
        assert recipe.epochs >= 1
        assert recipe.learning_rate > 0


@pytest.mark.parametrize("name", names(registry.preprocessors))
def test_a_preprocessor_keeps_shape_and_range_and_looks_at_one_image_at_a_time(name: str) -> None:
    preprocessor = registry.preprocessors.create(name).eval()
    images = torch.from_numpy(images_uint8()).float() / 255

    together = Preprocessed.of(preprocessor(images)).images
    alone = torch.cat([Preprocessed.of(preprocessor(image[None])).images for image in images])

    assert together.shape == images.shape
    assert together.dtype == torch.float32
    assert together.min() >= 0
    assert together.max() <= 1
    torch.testing.assert_close(together, alone, atol=SUMMED_UP_BY_PYTORCH.get(name, 0) * EPS / 2, rtol=0)


@pytest.mark.parametrize("name", names(registry.preprocessors))
def test_an_attacker_gets_a_gradient_through_a_preprocessor(name: str) -> None:
    preprocessor = registry.preprocessors.create(name).eval()
    images = (torch.from_numpy(images_uint8()).float() / 255).requires_grad_()

    (Preprocessed.of(preprocessor(images)).images * torch.linspace(0, 1, 16)).sum().backward()

    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert (images.grad != 0).float().mean() > 0.5
    assert preprocessor.surrogates


@pytest.mark.parametrize("name", names(registry.defenses))
def test_a_defense_names_a_preprocessor_that_exists(name: str) -> None:
    label = registry.defenses.create(name).preprocess("virolbi:level=0.5")
    assert registry.preprocessors.create(label).label == registry.preprocessors.canonical(label)


def suite_context() -> SuiteContext:
    shape = split().images.shape[1:]
    known = {"classes": ("a", "b", "c"), "image_shape": shape, "std": (0.2,) * shape[0], "official": lambda *_: None}
    dataset = type("Three", (), known)()
    return SuiteContext(dataset=dataset, split=split(), seed=0)


class OneByOne(torch.nn.Module):
    """A model that is given one image at a time, so that its own rounding does not depend on the batch."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.model(image[None]) for image in images])


def perturbed(suite: Suite, rows: np.ndarray, condition: Condition, context: SuiteContext, victim=None) -> torch.Tensor:
    return Perturbed.of(suite.perturb(rows, condition, context, victim)).images


def suites(*, needs_model: bool) -> list[str]:
    return [name for name in names(registry.suites) if registry.suites.create(name).needs_model == needs_model]


@pytest.mark.parametrize("name", names(registry.suites))
def test_a_suite_names_each_condition_once_with_plain_parameters(name: str) -> None:
    conditions = registry.suites.create(name).conditions(suite_context())

    keys = [(each.name, each.severity, each.threat) for each in conditions]
    assert len(set(keys)) == len(keys)
    for condition in conditions:
        json.dumps(condition.parameters, allow_nan=False)


@pytest.mark.parametrize("name", suites(needs_model=False))
def test_a_suite_perturbs_images_one_by_one(name: str) -> None:
    suite, context = registry.suites.create(name), suite_context()

    for condition in suite.conditions(context)[::3]:
        together = perturbed(suite, np.arange(4), condition, context)
        alone = torch.cat([perturbed(suite, np.array([row]), condition, context) for row in range(4)])
        assert together.shape == (4, 3, 16, 16)
        assert together.dtype == torch.float32
        assert (together - alone).abs().max() < transformed(256)


@pytest.mark.parametrize("name", suites(needs_model=True))
def test_a_suite_of_attacks_stays_inside_the_ball_of_each_condition(name: str) -> None:
    suite, context, victim = registry.suites.create(name), suite_context(), model().eval()
    images = torch.from_numpy(images_uint8()).float() / 255

    for condition in suite.conditions(context)[::3]:
        given = condition.parameters
        ball = Budget.of(given["epsilon"], given["epsilon_space"], victim.std, norm=given["norm"])
        examples = perturbed(suite, np.arange(4), condition, context, victim)
        assert examples.shape == images.shape
        assert examples.dtype == torch.float32
        assert ball.distance(examples, images).max() <= ball.epsilon + 1e-6
        assert examples.min() >= 0
        assert examples.max() <= 1


@pytest.mark.parametrize("name", suites(needs_model=True))
def test_a_suite_of_attacks_lets_other_rows_in_only_where_the_attack_says_so(name: str) -> None:
    """An attack with a batch size of its own draws for the whole batch: the same batch gives the same images."""
    suite, context, victim = registry.suites.create(name), suite_context(), OneByOne(model().eval())

    for condition in suite.conditions(context)[::3]:
        by_image = registry.attacks.create(condition.parameters["attack"]).batch_size is None
        together = perturbed(suite, np.arange(4), condition, context, victim)
        parts = [np.array([row]) for row in range(4)] if by_image else [np.arange(4)]
        again = torch.cat([perturbed(suite, part, condition, context, victim) for part in parts])
        assert torch.equal(again, together)


@pytest.mark.parametrize("name", names(registry.attacks))
def test_an_attack_stays_inside_its_ball_and_the_box(name: str) -> None:
    attack = registry.attacks.create(name)
    victim = model().eval()
    images = torch.from_numpy(images_uint8()).float() / 255
    budget = Budget.of(8 / 255, "normalized", victim.std)

    returned = attack(victim, images, torch.tensor([0, 1, 2, 0]), budget, seed=0, indices=np.arange(4))
    adversarial = AttackResult.of(returned).images

    assert ((adversarial - images).abs() <= budget.radius + 1e-6).all()
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


@pytest.mark.parametrize("name", names(registry.corruptions))
def test_a_corruption_returns_pictures_and_changes_them(name: str) -> None:
    images = np.ascontiguousarray(images_uint8(2).repeat(2, 2).repeat(2, 3))

    corrupted = corrupt(images, name, 5, seed=0, indices=np.arange(2))

    assert corrupted.shape == images.shape
    assert corrupted.dtype == np.uint8
    assert not np.array_equal(corrupted, images)


@pytest.mark.parametrize("name", [name for name in names(registry.backbones) if name not in ("timm", "resnet50")])
def test_a_backbone_classifies(name: str) -> None:
    network = registry.backbones.create(name, classes=CLASSES, image_shape=(3, 32, 32)).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, CLASSES)
