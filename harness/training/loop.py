"""The one training loop. A defense brings its images and its loss; the plain ones are in `contracts/defense.py`."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from harness.errors import HarnessError, UserError, reason_of
from harness.models import checkpoints
from harness.progress import track
from harness.seeding import derive, generator
from harness.training.images import ImageStore, batches
from harness.training.job import TrainingJob
from harness.training.optimization import make_optimizer, make_schedule
from harness.training.state import Learner, cpu_weights, resume, save_epoch, state_path
from harness.types import TrainingState

TRAINING_VERSION = 1
"""Part of a checkpoint's identity; raised when a change of the loop changes weights."""


def train(model: nn.Module, job: TrainingJob) -> None:
    """Train a protected model in place and save it at `job.path`; an interrupted one continues after its last epoch.

    Raises: HarnessError when the loss is not finite.
    """
    if job.batch_sizes[-1] == 1 and not takes_one_image(model, job):
        job = dataclasses.replace(job, least=2)
    optimizer = make_optimizer(model, job.recipe)
    schedule = make_schedule(optimizer, job.recipe, len(job.batch_sizes))
    learner = Learner(model, optimizer, schedule, memory={})
    first = resume(learner, job)
    store = ImageStore(job.device)
    job.observer.begin(job, first)
    for epoch in track(range(first, job.recipe.epochs), f"train {job.defense.label}"):
        random = generator(job.seed, "training", epoch, device=job.device)
        state = TrainingState(epoch, job.recipe.epochs, random, learner.memory)
        with _blamed_on(job, state):
            _train_epoch(learner, state, job, store)
        save_epoch(learner, state, job)
        job.observer.epoch(model, job, state)
    checkpoints.save(job.path, cpu_weights(model), job.metadata)
    state_path(job.path).unlink(missing_ok=True)


def takes_one_image(model: nn.Module, job: TrainingJob) -> bool:
    """Whether a model trains on a batch of one, which batch norm may not. Its weights stay as they are."""
    before, image = cpu_weights(model), np.array(job.split.images[:1])
    with torch.random.fork_rng(), torch.no_grad():
        try:
            model.train()(torch.from_numpy(image).to(job.device).float().div(255))
        except Exception:  # a model may be anybody's
            return False
        finally:
            model.load_state_dict(before)
    return True


@contextlib.contextmanager
def _blamed_on(job: TrainingJob, state: TrainingState) -> Iterator[None]:
    """Within the block no error of a defense ends the command, as a user's mistake would or `sys.exit` does.

    Raises: HarnessError instead of UserError, and of what is no Exception but the user's interrupt.
    """
    where = f"training {job.defense.label} failed in epoch {state.epoch + 1}"
    try:
        yield
    except UserError as error:
        raise HarnessError(f"{where}: {error}") from error
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise HarnessError(f"{where}: {reason_of(error)}.") from error


def _train_epoch(learner: Learner, state: TrainingState, job: TrainingJob, store: ImageStore) -> None:
    model, optimizer, schedule, _ = learner
    images = job.defense.training_images(job.split, epoch=state.epoch, epochs=state.epochs, cache=job.cache)
    job.defense.reseed(model, derive(job.seed, "noise", state.epoch))
    job.observer.images(job, images, state)
    model.train()
    total = torch.zeros((), device=job.device)
    for batch in batches(
        store.source(images), job.split.labels, job.batch_sizes, state, job.device, augmented=job.recipe.augment
    ):
        with torch.autocast(job.device.type, torch.bfloat16, enabled=job.amp):
            loss = job.defense.loss(model, batch, state)
        total += loss.detach()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.autocast(job.device.type, torch.bfloat16, enabled=job.amp):
            job.defense.after_step(model, batch, state)
        job.observer.batch(loss.detach(), float(schedule.get_last_lr()[0]))
        schedule.step()
    if not math.isfinite(total.item()):  # looked at once an epoch, so that a GPU need not wait for the CPU
        raise HarnessError(
            f"training {job.defense.label} diverged in epoch {state.epoch + 1}: the loss is {total.item()}."
        )
