"""Parametric noise injection: the noise's statistics and gradients, and the adversarial recipe around it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from defenses._adversarial import frozen, pgd
from defenses.pni import EPSILON, PNI, NoiseSource, WeightNoise, add_noise, noise_enabled, noise_sources, seed_noise
from harness.errors import UserError
from harness.types import Batch, Recipe, TrainingState


def small_network() -> nn.Module:
    """Two convolutions, a batch norm, a linear layer; 3×8×8 images, two classes."""
    torch_state = torch.Generator().manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, bias=False),
        nn.Flatten(),
        nn.Linear(128, 2),
    )
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.1, generator=torch_state)
    return network


def random_images(count: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def training_state(epoch: int, epochs: int) -> TrainingState:
    return TrainingState(epoch, epochs, torch.Generator().manual_seed(2))


def separable_batch(count: int = 32) -> Batch:
    """Two classes, dark and bright."""
    labels = torch.arange(count) % 2
    return Batch(random_images(count) * 0.5 + 0.5 * labels[:, None, None, None], labels, torch.arange(count))


def test_every_convolution_and_linear_weight_is_noisy_and_nothing_else():
    model = add_noise(small_network(), 0.25)

    noisy = [name for name, module in model.named_modules() if isinstance(module, WeightNoise)]

    assert [name.split(".")[0] for name in noisy] == ["0", "3", "5"]
    assert all(".weight." in name or name.endswith("weight.0") for name in noisy)
    assert len(noise_sources(model)) == 1


def test_the_noise_has_mean_zero_and_the_deviation_alpha_std():
    weight = torch.randn(40, 25, generator=torch.Generator().manual_seed(0)) * 3 + 1
    noise = WeightNoise(0.25, NoiseSource())

    draws = torch.stack([noise(weight).detach() - weight for _ in range(400)])

    expected = 0.25 * weight.std(correction=1)
    assert draws.mean().abs() < 5 * expected / draws.numel() ** 0.5
    torch.testing.assert_close(draws.std(), expected, rtol=0.01, atol=0)
    assert draws.mean(0).std() < 1.5 * expected / 400**0.5  # weights are drawn independently of each other
    assert torch.corrcoef(draws.flatten(1)[:2])[0, 1].abs() < 0.2  # and so are the draws


def test_the_deviation_is_the_unbiased_one():
    weight = torch.tensor([[0.0, 2.0]])
    noise = WeightNoise(1.0, NoiseSource(seed=3))

    drawn = noise(weight) - weight

    torch.testing.assert_close(drawn, 2**0.5 * NoiseSource(seed=3).like(weight))


def test_gradients_reach_the_weight_and_alpha_only():
    weight = nn.Parameter(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)))
    incoming = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    noise = WeightNoise(0.25, NoiseSource(seed=3))

    noise(weight).backward(incoming)

    eta = weight.detach().std() * NoiseSource(seed=3).like(weight)
    torch.testing.assert_close(weight.grad, incoming)
    torch.testing.assert_close(noise.alpha.grad, (incoming * eta).sum())


def test_one_forward_pass_draws_once():
    layer, images = add_noise(nn.Linear(6, 3), 0.5), torch.eye(6)
    seed_noise(layer, 7)

    product = layer(images) - layer.bias

    source = NoiseSource(seed=7)
    original = layer.parametrizations.weight.original.detach()
    torch.testing.assert_close(product.T, original + 0.5 * original.std() * source.like(original))
    assert torch.equal(source.like(original), noise_sources(layer)[0].like(original))  # nothing else was drawn


def test_the_same_seed_gives_the_same_logits_and_two_passes_differ():
    model, images = add_noise(small_network(), 0.25).eval(), random_images()

    seed_noise(model, 5)
    first, second = model(images), model(images)
    PNI().reseed(model, 5)

    assert not torch.equal(first, second)
    assert torch.equal(model(images), first)


def test_the_noise_does_not_touch_the_global_random_state():
    model = add_noise(small_network(), 0.25)
    before = torch.get_rng_state()

    model(random_images())

    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_keeps_the_noise_and_the_switch_turns_it_off():
    network, images = small_network().eval(), random_images()
    expected = network(images)
    model = add_noise(network, 0.25).eval()

    with noise_enabled(model, False):
        quiet = model(images)

    assert torch.equal(quiet, expected)
    assert not torch.equal(model(images), expected)


def test_alpha_gets_no_weight_decay_and_starts_where_it_is_told():
    model = PNI(alpha=0.1).protect(small_network())

    alphas = [parameter for name, parameter in model.named_parameters() if name.endswith("alpha")]

    assert [alpha.item() for alpha in alphas] == pytest.approx([0.1] * 3)
    assert all(alpha.no_weight_decay for alpha in alphas)


def test_a_saved_model_comes_back_without_its_noise_stream():
    model, restored = add_noise(small_network(), 0.25).eval(), add_noise(small_network(), 0.9).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)

    restored.load_state_dict(model.state_dict())
    for each in (model, restored):
        seed_noise(each, 1)

    assert torch.equal(model(random_images()), restored(random_images()))
    assert set(model.state_dict()) - set(small_network().state_dict()) == {
        f"{layer}.parametrizations.weight.{name}" for layer in (0, 3, 5) for name in ("original", "0.alpha")
    }


def test_a_copy_continues_the_noise_independently():
    model, images = add_noise(small_network(), 0.25).eval(), random_images()
    seed_noise(model, 1)
    model(images)

    twin = copy.deepcopy(model)
    seen = [twin(images) for _ in range(2)]

    assert torch.equal(model(images), seen[0])
    assert torch.equal(model(images), seen[1])
    assert len(noise_sources(twin)) == 1
    assert noise_sources(twin)[0] is not noise_sources(model)[0]


def test_a_noise_source_survives_pickling():
    source, weight = NoiseSource(seed=4), torch.empty(3)
    source.enabled = False
    source.like(weight)

    twin = pickle.loads(pickle.dumps(source))

    assert not twin.enabled
    assert torch.equal(twin.like(weight), source.like(weight))


@pytest.mark.parametrize("change", [lambda m: m.to(memory_format=torch.channels_last), lambda m: m.double().float()])
def test_layout_and_type_do_not_change_the_noise(change):
    model, images = add_noise(small_network(), 0.25).eval(), random_images()
    seed_noise(model, 1)
    expected = model(images)

    changed = change(model)
    seed_noise(changed, 1)

    torch.testing.assert_close(changed(images), expected, atol=1e-5, rtol=1e-5)


def test_autocast_draws_anew_in_every_pass():
    model, images = add_noise(small_network(), 0.25).eval(), random_images()

    with torch.autocast("cpu", torch.bfloat16):
        first, second = model(images), model(images)

    assert not torch.equal(first, second)


def test_functional_calls_use_the_given_weights():
    model, images = add_noise(small_network(), 0.25).eval(), random_images()
    doubled = {name: 2 * parameter.detach() for name, parameter in model.named_parameters()}

    seed_noise(model, 1)
    logits = torch.func.functional_call(model, doubled, (images,))
    model.load_state_dict(doubled, strict=False)
    seed_noise(model, 1)

    assert torch.equal(logits, model(images))


def test_a_weight_of_one_number_stays_as_it_is():
    assert noise_sources(add_noise(nn.Linear(1, 1), 0.25)) == []


def test_an_alpha_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="alpha must be a number"):
        PNI(alpha=float("nan"))


def test_the_paper_preset_is_the_published_schedule():
    base = Recipe(epochs=3, augment=False)

    paper, quick = PNI().recipe(base, "paper"), PNI().recipe(base, "quick")

    assert (paper.epochs, paper.batch_size, paper.learning_rate, paper.momentum) == (160, 128, 0.1, 0.9)
    assert (paper.schedule, [share * paper.epochs for share in paper.milestones]) == ("multi_step", [80, 120])
    assert paper.nesterov
    assert (quick.epochs, quick.weight_decay, paper.weight_decay) == (3, 3e-4, 3e-4)


@pytest.mark.parametrize(
    ("epoch", "epochs", "clean_only"), [(0, 160, True), (4, 160, True), (5, 160, False), (0, 12, False)]
)
def test_the_first_epochs_are_clean(epoch, epochs, clean_only):
    model, batch = add_noise(small_network(), 0.25), separable_batch()
    seed_noise(model, 1)
    expected = functional.cross_entropy(model(batch.images), batch.labels)
    seed_noise(model, 1)

    loss = PNI().loss(model, batch, training_state(epoch, epochs))

    assert torch.equal(loss, expected) == clean_only


def test_the_loss_is_half_clean_half_adversarial_with_the_true_labels():
    """With the noise off and every norm in evaluation mode the loss can be put together by hand."""
    model, batch = add_noise(small_network(), 0.25).eval(), separable_batch()
    wrong = Batch(batch.images, 1 - model(batch.images).argmax(1), batch.indices)

    with noise_enabled(model, False):
        guessed = model(wrong.images).argmax(1)
        adversarial = pgd(
            model, wrong.images, guessed, epsilon=0.031, step=0.01, steps=7, generator=training_state(0, 1).generator
        )
        losses = [functional.cross_entropy(model(x), wrong.labels) for x in (wrong.images, adversarial)]
        loss = PNI().loss(model, wrong, training_state(0, 1))

    torch.testing.assert_close(loss, sum(losses) / 2)


def published_losses(model: nn.Module, batch: Batch, start: torch.Tensor) -> list[torch.Tensor]:
    """The published step: a clean pass in training mode labels the attack, which is made on an eval-mode copy."""
    output = model(batch.images)
    target, attacked, point = output.max(1)[1], copy.deepcopy(model).eval(), start
    low, high = ((batch.images + offset).clamp(0, 1) for offset in (-0.031, 0.031))
    for _ in range(7):
        point = point.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(attacked(point), target), point)
        point = torch.max(torch.min(point.detach() + 0.01 * gradient.sign(), high), low)
    return [functional.cross_entropy(logits, batch.labels) for logits in (output, model(point))]


def test_the_attack_aims_at_what_the_clean_pass_in_training_mode_predicts():
    """With running statistics that are not the batch's, the two modes predict different classes."""
    model, batch = add_noise(small_network(), 0.25).train(), separable_batch()
    model[1].running_mean.fill_(3.0)
    twin = copy.deepcopy(model)
    modes = [copy.deepcopy(model).train(mode)(batch.images).argmax(1) for mode in (True, False)]
    offsets = torch.rand(batch.images.shape, generator=training_state(0, 1).generator) * 2 - 1

    with noise_enabled(model, False), noise_enabled(twin, False):
        loss = PNI().loss(model, batch, training_state(0, 1))
        loss.backward()
        expected = sum(published_losses(twin, batch, (batch.images + 0.031 * offsets).clamp(0, 1))) / 2
        expected.backward()

    assert (modes[0] != modes[1]).any()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(model[1].running_mean, twin[1].running_mean)
    assert model[1].num_batches_tracked.item() == 2
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        if not name.endswith("alpha"):
            torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_training_lowers_the_loss_and_moves_alpha():
    defense, batch = PNI(), separable_batch()
    model = defense.protect(small_network()).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []

    for _ in range(12):
        loss = defense.loss(model, batch, training_state(0, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    assert all(p.item() != 0.25 for name, p in model.named_parameters() if name.endswith("alpha"))


def test_the_attack_stays_in_the_ball_and_the_box_and_raises_the_loss():
    model, batch = small_network().eval(), separable_batch()

    adversarial = pgd(
        model,
        batch.images,
        batch.labels,
        epsilon=EPSILON,
        step=0.01,
        steps=7,
        generator=torch.Generator().manual_seed(0),
    )

    assert (adversarial - batch.images).abs().max() <= EPSILON + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    clean, attacked = (functional.cross_entropy(model(x), batch.labels) for x in (batch.images, adversarial))
    assert attacked > clean


def test_the_attack_starts_anywhere_in_the_ball():
    images = torch.full((64, 3, 8, 8), 0.5)

    start = pgd(small_network(), images, torch.zeros(64), epsilon=0.1, step=1, steps=0, generator=torch.Generator())

    torch.testing.assert_close((start - images).std(), torch.tensor(0.1 / 3**0.5), rtol=0.02, atol=0)
    assert (start - images).mean().abs() < 0.002


def test_the_attack_leaves_the_model_as_it_was():
    model, batch = add_noise(small_network(), 0.25).train(), separable_batch()
    model[2].eval()
    model[0].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    with frozen(model):
        assert not any(module.training for module in model.modules())
        pgd(model, batch.images, batch.labels, epsilon=0.1, step=0.05, steps=2, generator=torch.Generator())

    assert [module.training for module in model] == [True, True, False, True, True, True]
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["0.bias"]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_failed_attack_still_restores_the_model():
    model = small_network().train()

    with pytest.raises(ZeroDivisionError), frozen(model):
        _ = 1 / 0

    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("amp", [False, True])
def test_every_weight_gets_a_gradient_from_the_adversarial_loss(amp):
    model = PNI().protect(small_network()).train()

    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        loss = PNI().loss(model, separable_batch(), training_state(0, 1))
    loss.backward()

    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_noise_is_seeded_on_cuda_too():
    model, images = add_noise(small_network(), 0.25).eval().cuda(), random_images().cuda()

    seed_noise(model, 5)
    first, second = model(images), copy.deepcopy(model)(images)
    seed_noise(model, 5)

    assert torch.equal(model(images), first)
    assert torch.equal(model(images), second)
