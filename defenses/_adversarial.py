"""Shared by adversarial trainings: projected gradient descent, a model frozen while it runs, schedules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from harness.errors import UserError
from harness.types import Preset, Recipe

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Start = Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]


def summed_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over the batch, so that an image's gradient does not depend on the size of the batch."""
    return functional.cross_entropy(logits, labels, reduction="sum")


def summed_divergence(logits: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """KL(p‖softmax(logits)) summed over the batch; logits, probabilities p: [B,classes]."""
    return functional.kl_div(logits.float().log_softmax(1), probabilities, reduction="sum")


def uniform_start(images: torch.Tensor, epsilon: float, generator: torch.Generator) -> torch.Tensor:
    """Offsets drawn uniformly from the ball (Madry et al. 2018)."""
    noise = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    return epsilon * (2 * noise - 1)


def close_start(images: torch.Tensor, epsilon: float, generator: torch.Generator) -> torch.Tensor:
    """Offsets 0.001·N(0,1), whatever the ball (TRADES): at the image itself a divergence from it has no gradient."""
    return 0.001 * torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)


def pgd(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epsilon: float,
    step: float,
    steps: int,
    generator: torch.Generator,
    loss: Objective = summed_cross_entropy,
    start: Start = uniform_start,
) -> torch.Tensor:
    """Images in the ℓ∞ ball of radius `epsilon`, and in [0,1], that raise `loss(logits, labels)`.

    Source: A. Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018: a start
    drawn from the ball, then `steps` moves of `step` along the gradient's sign, each projected back.

    The model stays in its mode, and its parameters' gradients stay as they are.

    images: [B,C,H,W] in [0,1]
    labels: whatever `loss` compares logits with
    epsilon, step: in units of the images
    generator: on the images' device
    """
    adversarial = (images + start(images, epsilon, generator)).clamp(0, 1)
    for _ in range(steps):
        adversarial.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(model(adversarial), labels), adversarial)
        moved = adversarial.detach() + step * gradient.sign()
        adversarial = torch.clamp(moved, images - epsilon, images + epsilon).clamp(0, 1)
    return adversarial


@contextmanager
def frozen(model: nn.Module, *, evaluation: bool = True) -> Iterator[None]:
    """Within the block the model is in evaluation mode and its parameters need no gradient.

    Afterwards both are as before, module by module. Papers craft examples on a copy of the model in evaluation mode;
    this gives the same results without a copy: batch norm uses its running statistics and does not change them.

    The parameters also stay out of autocast's cache, which would otherwise give the training pass weights that are cut
    off from their graph.

    evaluation: false leaves the modes as they are, for papers that craft in training mode: batch norm then normalises
    by each batch, and its running statistics count the batch
    """
    modes = [(module, module.training) for module in model.modules()]
    needs = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        if evaluation:
            model.eval()
        for parameter, _ in needs:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, needed in needs:
            parameter.requires_grad_(needed)


def check_attack(defense: str, *, epsilon: float, step: float, steps: int) -> None:
    """Raises: UserError, naming the defense, for parameters of a training attack that are out of range."""
    if not 0 < epsilon <= 1:
        raise UserError(f"{defense}: epsilon must be above 0 and at most 1, such as 0.0314 (8/255), got {epsilon:g}.")
    if not 0 < step <= 1:
        raise UserError(f"{defense}: step must be above 0 and at most 1, such as 0.0078 (2/255), got {step:g}.")
    if steps < 1:
        raise UserError(f"{defense}: steps must be 1 or more, got {steps}.")


def stepped_recipe(
    base: Recipe, preset: Preset, *, epochs: int, milestones: tuple[int, ...], weight_decay: float
) -> Recipe:
    """A published schedule that divides the learning rate by ten after `milestones` of its `epochs`.

    preset `paper`: as published, batches of 128 and momentum 0.9 without Nesterov's look-ahead; the learning rate is
    the base's, which for residual networks is the published 0.1
    preset `quick`: the base with the published weight decay; its one rise and fall of the learning rate suits a few
    epochs of adversarial training best (Wong, Rice & Kolter 2020)
    """
    quick = dataclasses.replace(base, weight_decay=weight_decay)
    if preset == "quick":
        return quick
    shares = tuple(milestone / epochs for milestone in milestones)
    return dataclasses.replace(
        quick,
        epochs=epochs,
        batch_size=128,
        momentum=0.9,
        nesterov=False,
        schedule="multi_step",
        milestones=shares,
    )
