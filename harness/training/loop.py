"""The one training loop: a defense brings its images and its loss, everything else is here."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from harness.cache import ArrayCache
from harness.errors import HarnessError, UserError
from harness.models import checkpoints
from harness.progress import say, track
from harness.seeding import derive, generator
from harness.training.observer import Observer
from harness.types import Batch, Recipe, Split, TrainingState

if TYPE_CHECKING:
    from harness.contracts.defense import Defense

TRAINING_VERSION = 1
"""Part of a checkpoint's identity; raised when a change of the loop changes weights."""
DEVICE_SHARE = 0.5
"""Share of a device's free memory that the training images may take; larger sets stay in the CPU's memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What to train and where to keep it.

    about: what the checkpoint says of itself; its content decides whether an interrupted training is continued.
    keep_epochs: after which, counted from 1, a checkpoint is kept; beside those that the defense keeps.
    observer: who looks on.
    """

    defense: Defense
    recipe: Recipe
    split: Split
    seed: int
    path: Path
    about: dict[str, Any]
    cache: ArrayCache
    device: torch.device
    amp: bool = False
    keep_epochs: tuple[int, ...] = ()
    observer: Observer = dataclasses.field(default_factory=Observer)


def train(model: nn.Module, job: TrainingJob) -> None:
    """Train a protected model in place and save it at `job.path`; an interrupted training goes on where it stood.

    Raises: HarnessError when the loss is not finite.
    """
    optimizer = make_optimizer(model, job.recipe)
    schedule = make_schedule(optimizer, job.recipe, math.ceil(len(job.split) / job.recipe.batch_size))
    memory: dict[str, torch.Tensor] = {}
    first = _resume(model, optimizer, schedule, memory, job)
    store = ImageStore(job.device)
    job.observer.begin(job, first)
    for epoch in track(range(first, job.recipe.epochs), f"train {job.defense.label}"):
        random = generator(job.seed, "training", epoch, device=job.device)
        state = TrainingState(epoch, job.recipe.epochs, random, memory)
        _train_epoch(model, optimizer, schedule, state, job, store)
        _save_epoch(model, optimizer, schedule, state, job)
        job.observer.epoch(model, job, state)
    checkpoints.save(job.path, _cpu_weights(model), job.about)
    _state_path(job).unlink(missing_ok=True)


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    state: TrainingState,
    job: TrainingJob,
    store: ImageStore,
) -> None:
    images = job.defense.training_images(job.split, epoch=state.epoch, epochs=state.epochs, cache=job.cache)
    job.defense.reseed(model, derive(job.seed, "noise", state.epoch))
    job.observer.images(job, images, state)
    model.train()
    total = torch.zeros((), device=job.device)
    for batch in batches(store.source(images), job.split.labels, job.recipe, state, job.device):
        with torch.autocast(job.device.type, torch.bfloat16, enabled=job.amp):
            loss = job.defense.loss(model, batch, state)
        total += loss.detach()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        job.observer.batch(loss.detach(), float(schedule.get_last_lr()[0]))
        schedule.step()
    if not math.isfinite(total.item()):  # looked at once an epoch, so that a GPU need not wait for the CPU
        raise HarnessError(
            f"training {job.defense.label} diverged in epoch {state.epoch + 1}: the loss is {total.item()}."
        )


class ImageStore:
    """Training images kept on the device while an epoch asks for the same array as the one before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._array: np.ndarray | None = None
        self._tensor: torch.Tensor | None = None

    def source(self, images: np.ndarray) -> torch.Tensor | np.ndarray:
        """The images on the device, or as they are when they do not fit there."""
        if images is not self._array:
            self._array, self._tensor = images, None
            if images.nbytes <= _room(self.device):
                self._tensor = torch.from_numpy(np.array(images)).to(self.device)
        return images if self._tensor is None else self._tensor


def batches(
    source: torch.Tensor | np.ndarray, labels: np.ndarray, recipe: Recipe, state: TrainingState, device: torch.device
) -> Any:
    """Shuffled, augmented batches of an epoch, on the device."""
    answers = torch.from_numpy(np.array(labels)).to(device)
    order = torch.randperm(len(labels), generator=state.generator, device=device)
    for rows in order.split(recipe.batch_size):
        raw = source[rows] if isinstance(source, torch.Tensor) else _gather(source, rows, device)
        batch = raw.to(memory_format=torch.channels_last).float().div_(255)
        if recipe.augment:
            batch = augment(batch, state.generator)
        yield Batch(batch, answers[rows], rows)


def augment(images: torch.Tensor, source: torch.Generator) -> torch.Tensor:
    """Random shift by up to an eighth of the size, reflecting at the border, and horizontal flip; per image."""
    count, _, height, width = images.shape
    pad = max(1, min(height, width) // 8)
    padded = functional.pad(images, (pad, pad, pad, pad), mode="reflect")
    top, left = torch.randint(0, 2 * pad + 1, (2, count), generator=source, device=images.device)
    flip = torch.rand(count, generator=source, device=images.device) < 0.5
    rows = torch.arange(height, device=images.device) + top[:, None]
    columns = torch.arange(width, device=images.device) + left[:, None]
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    which = torch.arange(count, device=images.device)[:, None, None]
    cropped = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with the recipe's momentum; parameters marked `no_weight_decay` get none."""
    free = [p for p in model.parameters() if getattr(p, "no_weight_decay", False)]
    decayed = [p for p in model.parameters() if not getattr(p, "no_weight_decay", False)]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate per step: one rise and fall, or division by ten at the milestones."""
    total = max(1, recipe.epochs * steps_per_epoch)
    if recipe.schedule == "multi_step":
        steps = [round(share * total) for share in recipe.milestones]
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, steps, gamma=0.1)
    rise = max(1, round(0.2 * total))

    def share(step: int) -> float:
        return (step + 1) / rise if step < rise else max(0.0, (total - step) / max(1, total - rise))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _gather(images: np.ndarray, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Rows of an array too large for the device, read in the order they lie on disk."""
    wanted = rows.cpu().numpy()
    order = np.argsort(wanted)
    found = np.empty((len(wanted), *images.shape[1:]), images.dtype)
    found[order] = images[wanted[order]]
    return torch.from_numpy(found).to(device)


def _room(device: torch.device) -> float:
    """Bytes of training images that may be held on the device."""
    if device.type == "cuda":
        return DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
    return 2**30


def _save_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    state: TrainingState,
    job: TrainingJob,
) -> None:
    weights, done = _cpu_weights(model), state.epoch + 1
    by_defense = job.defense.keep(epoch=state.epoch, epochs=state.epochs)
    for tag in (by_defense, epoch_tag(done) if done in job.keep_epochs else None):
        if tag is not None:
            checkpoints.save(kept_path(job.path, tag), weights, {**job.about, "kept": tag, "epoch": done})
    checkpoints.save(
        _state_path(job),
        weights,
        job.about,
        optimizer=optimizer.state_dict(),
        schedule=_plain_schedule(schedule),
        epoch=done,
        memory={name: value.cpu() for name, value in state.memory.items()},
    )


def _resume(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    memory: dict[str, torch.Tensor],
    job: TrainingJob,
) -> int:
    """Restore the last whole epoch, if there is one, filling `memory`; returns how many epochs are done."""
    path = _state_path(job)
    if not path.is_file():
        return 0
    initial = _cpu_weights(model)
    try:
        content = checkpoints.read(path)
        if content["about"] != json.dumps(job.about, sort_keys=True):
            raise UserError(f"{path} is of another training.")
        rates, done, kept = content["schedule"], int(content["epoch"]), content["memory"]
        checkpoints.restore(model, checkpoints.Checkpoint(content["weights"], job.about), path)
        optimizer.load_state_dict(content["optimizer"])  # refuses before it changes anything
    except (UserError, KeyError, ValueError):
        model.load_state_dict(initial)
        say(f"the half-trained state {path} cannot be used; training {job.defense.label} starts again.")
        return 0
    schedule.load_state_dict({**schedule.state_dict(), **rates})
    memory.update({name: value.to(job.device) for name, value in kept.items()})
    say(f"training {job.defense.label} continues after epoch {done} of {job.recipe.epochs}.")
    return done


def _plain_schedule(schedule: torch.optim.lr_scheduler.LRScheduler) -> dict[str, Any]:
    """The schedule's state without functions, which a weights-only file cannot hold."""
    return {
        k: v for k, v in schedule.state_dict().items() if k in ("last_epoch", "_step_count", "_last_lr", "base_lrs")
    }


def epoch_tag(epoch: int) -> str:
    """Under which a checkpoint asked for by `keep_epochs` is kept."""
    return f"epoch={epoch}"


def kept_path(path: Path, tag: str) -> Path:
    """Where the checkpoint kept under a tag lies: model.pt → model.level=0.6.pt."""
    return path.with_name(f"{path.stem}.{tag}.pt")


def epochs_done(checkpoint: Path) -> int:
    """How many epochs the interrupted or running training of a checkpoint has behind it; 0 where that is not known."""
    try:
        content = torch.load(checkpoint.with_suffix(".state"), map_location="cpu", weights_only=True, mmap=True)
        return int(content["epoch"])
    except Exception:  # torch raises many kinds for what is half-written or gone meanwhile
        return 0


def _state_path(job: TrainingJob) -> Path:
    return job.path.with_suffix(".state")


def _cpu_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
