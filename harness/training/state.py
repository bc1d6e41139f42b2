"""The state of a training: saved after every epoch, read when an interrupted training continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from harness.errors import UserError
from harness.models import checkpoints
from harness.progress import say
from harness.training.job import TrainingJob
from harness.types import TrainingState

Schedule = torch.optim.lr_scheduler.LRScheduler
_PLAIN = ("last_epoch", "_step_count", "_last_lr", "base_lrs")
"""What a schedule's state holds beside functions, which a file of weights cannot hold."""


class Learner(NamedTuple):
    """What training changes."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    memory: dict[str, torch.Tensor]
    """What the defense keeps from batch to batch."""


def save_epoch(learner: Learner, state: TrainingState, job: TrainingJob) -> None:
    """Save the state after an epoch, and the checkpoints that the defense and `keep_epochs` ask for."""
    weights, done = cpu_weights(learner.model), state.epoch + 1
    by_defense = job.defense.keep(epoch=state.epoch, epochs=state.epochs)
    for tag in (by_defense, epoch_tag(done) if done in job.keep_epochs else None):
        if tag is not None:
            checkpoints.save(kept_path(job.path, tag), weights, {**job.metadata, "kept": tag, "epoch": done})
    checkpoints.save(
        state_path(job.path),
        weights,
        job.metadata,
        optimizer=learner.optimizer.state_dict(),
        schedule={name: value for name, value in learner.schedule.state_dict().items() if name in _PLAIN},
        epoch=done,
        memory={name: value.cpu() for name, value in learner.memory.items()},
    )


def resume(learner: Learner, job: TrainingJob) -> int:
    """Restore the last whole epoch, if there is one; returns how many epochs are done."""
    path = state_path(job.path)
    if not path.is_file():
        return 0
    initial = cpu_weights(learner.model)
    try:
        content = checkpoints.read(path)
        if content["about"] != json.dumps(job.metadata, sort_keys=True):
            raise UserError(f"{path} is of another training.")
        rates, done, memory = dict(content["schedule"]), int(content["epoch"]), dict(content["memory"])
        memory = {name: value.to(job.device) for name, value in memory.items()}
        checkpoints.restore(learner.model, checkpoints.Checkpoint(content["weights"], job.metadata), path)
        learner.optimizer.load_state_dict(content["optimizer"])  # refuses before it changes anything
    except (UserError, KeyError, ValueError, TypeError, AttributeError, RuntimeError):
        learner.model.load_state_dict(initial)
        say(f"the half-trained state {path} cannot be used; training {job.defense.label} starts again.")
        return 0
    learner.schedule.load_state_dict({**learner.schedule.state_dict(), **rates})
    learner.memory.update(memory)
    say(f"training {job.defense.label} continues after epoch {done} of {job.recipe.epochs}.")
    return done


def epoch_tag(epoch: int) -> str:
    """The tag under which `keep_epochs` keeps a checkpoint."""
    return f"epoch={epoch}"


def kept_path(path: Path, tag: str) -> Path:
    """Where the checkpoint kept under a tag lies: model.pt → model.level=0.6.pt."""
    return path.with_name(f"{path.stem}.{tag}.pt")


def state_path(checkpoint: Path) -> Path:
    """Where the state of a checkpoint's training lies until it is trained."""
    return checkpoint.with_suffix(".state")


def epochs_done(checkpoint: Path) -> int:
    """How many epochs the interrupted or running training of a checkpoint has behind it; 0 where that is not known."""
    path = state_path(checkpoint)
    if not path.is_file():  # a pipe would be waited for
        return 0
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(content["epoch"])
    except Exception:  # torch raises many kinds for what is half-written or gone meanwhile
        return 0


def cpu_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the model's state, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
