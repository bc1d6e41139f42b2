"""Adversarial examples for training recipes: projected gradient descent, and a model held still while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def summed_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy added over the batch, so that an image's gradient does not shrink with the batch's size."""
    return functional.cross_entropy(logits, labels, reduction="sum")


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
) -> torch.Tensor:
    """Images in the ℓ∞ ball of radius `epsilon`, and in [0,1], that raise `loss(logits, labels)`.

    Source: A. Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018: a start
    drawn uniformly from the ball, then `steps` moves of `step` along the gradient's sign, each projected back.

    images: [B,C,H,W] in [0,1] · epsilon, step: in units of the images · generator: on the images' device. The
    model is used in the mode it is in; no parameter's gradient is touched.
    """
    noise = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    adversarial = (images + epsilon * (2 * noise - 1)).clamp(0, 1)
    for _ in range(steps):
        adversarial.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(model(adversarial), labels), adversarial)
        moved = adversarial.detach() + step * gradient.sign()
        adversarial = torch.clamp(moved, images - epsilon, images + epsilon).clamp(0, 1)
    return adversarial


@contextmanager
def held_still(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradient for the parameters; both are put back as they were, module by module.

    The published recipes craft examples on a copy of the model in evaluation mode. This does the same arithmetic
    without the copy: nothing is learned meanwhile, and batch norm uses its running statistics and leaves them.
    Parameters that need no gradient also stay out of autocast's cache, which would hand the training pass weights
    cut off from their graph.
    """
    modes = [(module, module.training) for module in model.modules()]
    needs = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in needs:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, needed in needs:
            parameter.requires_grad_(needed)
