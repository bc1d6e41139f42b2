"""Adversarial weight perturbation: against the published procedure with its proxy, and what it leaves behind."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from defenses.adversarial_training import AdversarialTraining
from defenses.awp import AWP, ascent
from harness.errors import UserError
from harness.registry import defenses
from harness.training.optimization import make_optimizer
from harness.types import Batch, Recipe, TrainingState


def network() -> nn.Module:
    """Two convolutions, a batch norm, a linear layer, in float64; 3×6×6 images, two classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, bias=False), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(16, 2)).double().train()


def batch(seed: int = 1, count: int = 16) -> Batch:
    images = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Batch(images, torch.arange(count) % 2, torch.arange(count))


def state(seed: int = 2) -> TrainingState:
    return TrainingState(0, 1, torch.Generator().manual_seed(seed))


def published_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, adversarial: torch.Tensor, given: Batch, gamma: float
) -> None:
    """Proxy network, perturb in place, step, take it away, a clean pass: as the code of Wu et al. goes."""
    labels = given.labels
    proxy = copy.deepcopy(model).train()
    ascending = torch.optim.SGD(proxy.parameters(), lr=0.01)
    ascending.zero_grad()
    (-functional.cross_entropy(proxy(adversarial), labels)).backward()
    ascending.step()
    moves = {}
    for (name, old), new in zip(model.named_parameters(), proxy.parameters(), strict=True):
        if old.dim() > 1 and "weight" in name:
            difference = (new - old).detach()
            moves[name] = gamma * old.detach().norm() / (difference.norm() + 1e-20) * difference
    for name, value in model.named_parameters():
        value.data += moves.get(name, 0)
    loss = functional.cross_entropy(model(adversarial), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for name, value in model.named_parameters():
        value.data -= moves.get(name, 0)
    model(given.images)


@pytest.mark.parametrize(("decay", "tolerance"), [(0.0, 1e-10), (5e-4, 2e-6)])
def test_steps_end_where_the_published_procedure_ends(decay: float, tolerance: float):
    """To rounding; with weight decay to lr·decay·gamma of the weights, as the published code decays v also."""
    defense, model = AWP(), network()
    twin = copy.deepcopy(model)
    recipe = Recipe(epochs=1, learning_rate=0.1, weight_decay=decay)
    optimizer, other = make_optimizer(model, recipe), make_optimizer(twin, recipe)

    for seed in range(4):
        loss = defense.loss(model, batch(seed), state(seed))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        defense.after_step(model, batch(seed), state(seed))
        adversarial = defense.craft(twin, batch(seed), state(seed))
        published_step(twin, other, adversarial, batch(seed), gamma=0.01)

    for (name, tensor), expected in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=tolerance, atol=tolerance, msg=name)


def test_the_weights_never_move_and_the_loss_lets_the_statistics_see_the_examples_only():
    """Ten passes of crafting and the training pass; the pass that finds the direction is not counted."""
    model = network()
    before = [value.clone() for value in model.parameters()]

    AWP().loss(model, batch(), state()).backward()

    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert model[1].num_batches_tracked.item() == 11


def test_the_perturbation_has_its_share_of_each_weights_length_and_raises_the_loss():
    model, given = network(), batch()

    moves = ascent(model, given.images, given.labels, share=0.05)

    assert list(moves) == ["0.weight", "3.weight", "5.weight"]
    for name, move in moves.items():
        torch.testing.assert_close(move.norm(), 0.05 * model.get_parameter(name).norm().detach())
    perturbed = {name: model.get_parameter(name) + move for name, move in moves.items()}
    raised = functional.cross_entropy(functional_call(model, perturbed, given.images), given.labels)
    assert raised > functional.cross_entropy(model(given.images), given.labels) + 0.01


class Tokens(nn.Module):
    """What a ViT has beside weights: a class token and a position embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.ones(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.ones(1, 5, 8))
        self.embed = nn.Conv2d(3, 8, 3, stride=3)
        self.head = nn.Linear(8, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.embed(images).flatten(2).mT
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], 1) + self.pos_embed
        return self.head(tokens.tanh().mean(1))


def test_tokens_and_position_embeddings_are_trained_but_not_perturbed():
    model, given = Tokens().double(), batch()

    moves = ascent(model, given.images, given.labels, share=0.05)
    AWP().loss(model, given, state()).backward()

    assert list(moves) == ["embed.weight", "head.weight"]
    assert all(value.grad.abs().sum() > 0 for value in model.parameters())


def test_the_perturbed_weights_of_a_real_vit_are_those_the_published_filter_takes():
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1, num_classes=2)
    images, labels = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])

    moved = set(ascent(model, images, labels, share=0.01))

    taken = {name for name, value in model.state_dict().items() if len(value.size()) > 1 and "weight" in name}
    assert moved == taken
    assert {"cls_token", "pos_embed"} == {name for name, p in model.named_parameters() if p.ndim > 1} - moved


def test_a_network_without_weights_by_name_is_refused_before_it_is_trained():
    model = nn.Module()
    model.table = nn.Parameter(torch.ones(3, 3))

    with pytest.raises(UserError, match=r"awp perturbs .* this network has none"):
        AWP().protect(model)
    assert AWP().protect(network()) is not None


def test_the_loss_is_above_adversarial_trainings_and_near_it_for_a_small_perturbation():
    plain = AdversarialTraining().loss(network(), batch(), state())

    assert AWP(gamma=0.05).loss(network(), batch(), state()) > plain + 0.01
    torch.testing.assert_close(AWP(gamma=1e-9).loss(network(), batch(), state()), plain)


def test_weights_that_do_not_matter_or_are_frozen_or_zero_do_no_harm():
    model, given = network(), batch()
    model.unused = nn.Linear(2, 2).double()
    model.forward = lambda images: nn.Sequential(*list(model)[:6])(images)  # type: ignore[method-assign]
    model[0].weight.requires_grad_(False)
    model[3].weight.data.zero_()

    moves = ascent(model, given.images, given.labels, share=0.05)

    assert "0.weight" not in moves
    assert all(torch.isfinite(move).all() for move in moves.values())
    assert (moves["3.weight"] == 0).all()
    assert (moves["unused.weight"] == 0).all()


@pytest.mark.parametrize("amp", [False, True])
def test_every_weight_gets_a_gradient(amp: bool):
    model, given = network().float(), batch()

    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        loss = AWP().loss(model, given._replace(images=given.images.float()), state())
    loss.backward()

    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in model.parameters())


def test_parametrised_weights_are_perturbed_and_trained():
    model = nn.utils.parametrizations.weight_norm(nn.Linear(108, 2)).double()
    whole, given = nn.Sequential(nn.Flatten(), model), batch()

    moves = ascent(whole, given.images, given.labels, share=0.05)
    AWP().loss(whole, given, state()).backward()

    assert {name.rsplit(".")[-1] for name in moves} == {"original0", "original1"}
    assert all(value.grad.abs().sum() > 0 for value in whole.parameters())


@pytest.mark.parametrize("gamma", ["0", "1", "-0.01", "nan"])
def test_an_impossible_perturbation_is_refused(gamma: str):
    with pytest.raises(UserError, match=f"awp: gamma must be between 0 and 1, such as 0.01, got {gamma}"):
        defenses.create(f"awp:gamma={gamma}")
