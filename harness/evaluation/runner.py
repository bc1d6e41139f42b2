"""A run: plan its jobs, skip the cells that are recorded, evaluate the rest, record each as it is done."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.contracts.defense import Preprocessed, Preprocessor
from harness.contracts.model import Pipeline
from harness.errors import HarnessError, UserError, anybodys_code, reason_of
from harness.evaluation.cells import PendingCell, cells_of
from harness.evaluation.failures import alive, work
from harness.evaluation.jobs import Job
from harness.evaluation.obtain import obtain
from harness.evaluation.planner import Planner, check_suites, job_name, planned_job, training_plan
from harness.evaluation.setup import BATCH_SIZE, Candidate, RunSetup, Training, resolve
from harness.evaluation.stages import rows_left
from harness.evaluation.trial import try_out
from harness.models.defended import DefendedModel
from harness.progress import say, track
from harness.records.database import Records
from harness.records.environment import describe_environment
from harness.records.plan import note_plan
from harness.records.schema import NO_PREPROCESS, Description, PlannedCell
from harness.seeding import derive
from harness.suites.base import Perturbed
from harness.training.job import TrainingJob
from harness.types import Split

BLOCK_BYTES = 2**26
"""How much a block of test images may take as float32."""


class Outcome(NamedTuple):
    """How a run ended, in numbers of cells."""

    evaluated: int
    skipped: int
    """Recorded already by an earlier run."""
    failed: int
    """Failed trainings included."""


def run(config: RunConfig, cache: ArrayCache) -> Outcome:
    """Train or load every defense of the run, and score each on every suite.

    Raises: UserError for a mistake in the options. A training or a cell that fails is recorded as failed and counted,
    and the run continues.
    """
    setup = resolve(config, cache)
    with contextlib.closing(setup.observer), Records.open(config.out, write=True) as records:
        try_out(setup)
        planner = Planner(setup, None if setup.transfer is None else obtain(setup.transfer, setup))
        check_suites(setup)
        plan = training_plan(setup)
        note_plan(config.out, plan)
        runner = Runner(setup, records)
        models = [model for candidate in setup.candidates if (model := runner.prepare(candidate)) is not None]
        jobs = planner.plan(models)
        note_plan(config.out, plan._replace(jobs=[planned_job(job) for job in jobs]))
        for job in track(jobs, "score", name=job_name):
            runner.evaluate(job)
    return runner.outcome()


class Runner:
    """Evaluates jobs into records."""

    def __init__(self, setup: RunSetup, records: Records) -> None:
        self.setup = setup
        self.records = records
        self.environment = describe_environment(setup.device)
        self.counts: Counter[str] = Counter()

    def outcome(self) -> Outcome:
        """The numbers of cells so far."""
        return Outcome(self.counts["evaluated"], self.counts["skipped"], self.counts["failed"])

    def prepare(self, candidate: Candidate) -> DefendedModel | None:
        """The defended model of a candidate, or None when its training failed, which is recorded."""
        if not isinstance(candidate.source, Training):
            with anybodys_code(f"{candidate.label}: the model fails on test images"):
                return obtain(candidate, self.setup)
        attempt = _training_attempt(candidate.source.job, self.setup)
        start = time.perf_counter()
        try:
            model = obtain(candidate, self.setup)
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException as error:  # one bad training must not take the others with it
            self._fail(attempt, reason_of(error), time.perf_counter() - start)
            return None
        self.records.forget_failure(attempt.identity)
        return model

    def evaluate(self, job: Job) -> None:
        """Perturb, preprocess, predict and record the cells of a job that are not recorded yet."""
        cells = self._not_recorded(job)
        if not cells:
            return
        left = rows_left(job, cells, self.records)
        for block in _blocks(job.context.split):
            for cell in cells:
                cell.begin_block(block)
            rows = block[left[block]]
            if len(rows) and alive(cells):
                self._score(job, rows, np.searchsorted(block, rows), alive(cells))
        for cell in cells:
            self._record(cell, job.context.split)

    def _score(self, job: Job, rows: np.ndarray, places: np.ndarray, cells: Sequence[PendingCell]) -> None:
        """Score cells on rows of the split, which have these places in the block that is being scored."""
        device = self.setup.device
        with work("perturb", cells, device):
            perturbed = _perturb(job, rows, device)
            for cell in cells:
                cell.add_perturbed(perturbed)
        for preprocessor, group in _by_preprocessing(alive(cells)):
            with work("preprocess", group, device):
                preprocessed = _preprocess(preprocessor, perturbed.images)
                for cell in group:
                    cell.outcomes.update(preprocessed.outcomes)
            for cell in alive(group):
                with work("predict", [cell], device):
                    cell.predictions[-1][places] = self._predict(cell, preprocessed.images, rows)
                self.setup.observer.scored(job, cell, perturbed.images, preprocessed.images)

    def _not_recorded(self, job: Job) -> list[PendingCell]:
        cells = cells_of(job)
        pending = [cell for cell in cells if not self.records.use(cell.planned.identity)]
        self.counts["skipped"] += len(cells) - len(pending)
        return pending

    def _predict(self, cell: PendingCell, images: torch.Tensor, rows: np.ndarray) -> np.ndarray:
        model = cell.model
        model.defense.reseed(model.model, derive(model.seed, cell.planned.identity, rows[0]))
        return predict(model.model, images, len(self.setup.dataset.classes), self.setup.batch_size)

    def _record(self, cell: PendingCell, split: Split) -> None:
        seconds = sum(cell.seconds.values())
        if cell.failure is not None:
            self._fail(cell.planned, cell.failure, seconds)
            return
        self.counts["evaluated"] += 1
        self.records.add(
            cell.planned,
            np.concatenate(cell.predictions),
            split.labels,
            split.indices,
            environment=self.environment,
            seconds=seconds,
            details=cell.details(),
        )
        self.setup.observer.recorded(cell)

    def _fail(self, planned: PlannedCell, reason: str, seconds: float) -> None:
        self.counts["failed"] += 1
        say(f"failed: {planned.description.defense}, {planned.description.condition}: {reason}")
        self.records.fail(planned, reason, environment=self.environment, seconds=seconds)


def _perturb(job: Job, rows: np.ndarray, device: torch.device) -> Perturbed:
    """The perturbed images of rows of the split, on the device."""
    result = Perturbed.of(job.suite.perturb(rows, job.condition, job.context, _attacked_model(job, rows)))
    return result._replace(images=result.images.to(device))


def _attacked_model(job: Job, rows: np.ndarray) -> nn.Module | None:
    """What the attacker has: the network, for an adaptive attack behind its preprocessing; None without an attack."""
    attacked = job.attacked
    if attacked is None:
        return None
    attacked.defense.reseed(attacked.model, derive(job.context.seed, "attack", job.condition.name, rows[0]))
    if job.condition.threat != "adaptive":
        return attacked.model
    surrogate = attacked.preprocessor.with_surrogate(job.condition.parameters["gradient"])
    return Pipeline(surrogate, attacked.model)


def _by_preprocessing(cells: Sequence[PendingCell]) -> Iterator[tuple[Preprocessor | None, list[PendingCell]]]:
    """The cells that share preprocessed images, each group with its preprocessor."""
    for name, preprocessor in {cell.preprocess: cell.preprocessor for cell in cells}.items():
        yield preprocessor, [cell for cell in cells if cell.preprocess == name]


@torch.no_grad()
def _preprocess(preprocessor: Preprocessor | None, images: torch.Tensor) -> Preprocessed:
    """The images as the network sees them. A preprocessor is given what a picture can hold, [0,1]."""
    return Preprocessed.of(images if preprocessor is None else preprocessor(images.clamp(0, 1)))


@torch.no_grad()
def predict(model: nn.Module, images: torch.Tensor, classes: int, batch_size: int = BATCH_SIZE) -> np.ndarray:
    """The predicted class of each image: [N] int64.

    Raises: HarnessError when the model returns NaN or infinity, or another shape than [B,classes].
    """
    predictions = []
    for batch in images.split(batch_size):
        logits = model(batch.contiguous(memory_format=torch.channels_last))
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if shape != (len(batch), classes):
            raise HarnessError(f"the model must return logits of shape {(len(batch), classes)}, got {shape}.")
        if not torch.isfinite(logits).all():
            raise HarnessError("the model returned NaN or infinity.")
        predictions.append(logits.argmax(1))
    return torch.cat(predictions).cpu().numpy()


def _blocks(split: Split) -> Iterator[np.ndarray]:
    """Positions in the split, in blocks that fit in memory."""
    bytes_each = 4 * int(np.prod(split.images.shape[1:]))
    size = max(1, BLOCK_BYTES // bytes_each)
    for start in range(0, len(split), size):
        yield np.arange(start, min(start + size, len(split)))


def _training_attempt(job: TrainingJob, setup: RunSetup) -> PlannedCell:
    """What a failed training is recorded as."""
    description = Description(
        dataset=setup.dataset.name,
        backbone=job.metadata["backbone"],
        defense=job.defense.label,
        seed=job.seed,
        suite="",
        condition="training",
        preprocess=NO_PREPROCESS,
    )
    return PlannedCell(spec={"training": job.metadata}, description=description)
