"""Plan the cells of a run, skip what is recorded, evaluate the rest, record each as it is done."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from harness.cache import ArrayCache
from harness.config import DEFAULT_SUITES, RunConfig
from harness.environment import describe_environment
from harness.errors import HarnessError, UserError
from harness.models import Pipeline
from harness.progress import say, track
from harness.records import Cell, Records
from harness.registry import datasets, suites
from harness.seeding import derive
from harness.subjects import Subject, Workshop
from harness.suites.base import Suite, SuiteContext
from harness.types import Condition, Split

CODE_VERSION = 1
"""Part of every cell's identity; raised when scoring itself changes numbers."""
BLOCK_BYTES = 2**26
"""How much a block of test images may take as float32."""
NONE = "none"


class Outcome(NamedTuple):
    """How many cells a run evaluated, found recorded already, and could not evaluate."""

    evaluated: int
    skipped: int
    failed: int


@dataclasses.dataclass(kw_only=True)
class Score:
    """A cell being scored: predictions come in block by block."""

    cell: Cell
    subject: Subject
    preprocess: str
    predictions: list[np.ndarray] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    failure: str | None = None

    def spend(self, what: str, seconds: float) -> None:
        """Count time towards this cell."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds


def run(config: RunConfig, cache: ArrayCache) -> Outcome:
    """Train or load every defense of the run, and take each through every suite.

    Raises: UserError for anything wrong in what the user gave. A cell that fails is recorded as failed and counted.
    """
    workshop = open_workshop(config, cache)
    chosen = [suites.create(name) for name in _suite_names(config)]
    with Records.open(config.out, write=True) as records:
        runner = Runner(workshop, records)
        plan = [piece for suite in chosen for piece in runner.plan(suite, [])]  # refuses bad options before training
        del plan
        subjects = workshop.subjects()
        pieces = [piece for suite in chosen for piece in runner.plan(suite, subjects)]
        for piece in track(pieces, "score"):
            runner.evaluate(piece)
    return runner.outcome()


def open_workshop(config: RunConfig, cache: ArrayCache) -> Workshop:
    """The data set and device of a run, checked."""
    dataset = datasets.create(config.dataset, data_root=config.data_root, cache=cache)
    return Workshop(config=config, dataset=dataset, cache=cache, device=pick_device(config.device))


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"--device expects auto, cpu or an available device such as cuda:0, got {name!r}: {reason}"
        ) from error
    return device


class Piece(NamedTuple):
    """One condition on the models that share its images."""

    suite: Suite
    condition: Condition
    context: SuiteContext
    subjects: list[Subject]


class Runner:
    """Evaluates pieces into records."""

    def __init__(self, workshop: Workshop, records: Records) -> None:
        self.workshop = workshop
        self.records = records
        self.environment = describe_environment(workshop.device)
        self.counts: Counter[str] = Counter()

    def outcome(self) -> Outcome:
        """What has been done so far."""
        return Outcome(self.counts["evaluated"], self.counts["skipped"], self.counts["failed"])

    def plan(self, suite: Suite, subjects: list[Subject]) -> Iterator[Piece]:
        """Every condition of a suite; models share the images where these do not depend on the model."""
        config, dataset = self.workshop.config, self.workshop.dataset
        split = dataset.test().take(config.test_limit(suite.limit, adversarial=suite.needs_model))
        groups = [[subject] for subject in subjects] if suite.needs_model and subjects else [subjects]
        for group in groups:
            context = SuiteContext(
                dataset=dataset,
                split=split,
                seed=group[0].seed if suite.needs_model and group else 0,
                preset=config.preset,
                corruptions=config.corruptions,
                epsilons=config.epsilons,
                epsilon_space=config.epsilon_space,
                stochastic=suite.needs_model and bool(group) and group[0].defense.stochastic,
            )
            for condition in suite.conditions(context):
                yield Piece(suite, condition, context, group)

    def evaluate(self, piece: Piece) -> None:
        """Score whatever of a piece is not recorded yet, and record it."""
        scores = [score for subject in piece.subjects for score in self._scores(piece, subject)]
        pending = [score for score in scores if score.cell.identity not in self.records]
        self.counts["skipped"] += len(scores) - len(pending)
        if not pending:
            return
        start = time.perf_counter()
        try:
            for rows in _blocks(piece.context.split):
                self._score_block(rows, piece, pending)
        except (KeyboardInterrupt, UserError):
            raise
        except Exception as error:  # one bad cell must not take the others' results with it
            for score in pending:
                score.failure = score.failure or _reason(error)
        for score in pending:
            self._record(score, piece.context.split, time.perf_counter() - start)

    def _scores(self, piece: Piece, subject: Subject) -> list[Score]:
        preprocessed = subject.preprocessor.label
        names = [preprocessed] if piece.condition.threat == "adaptive" else [NONE, preprocessed]
        return [Score(cell=self._cell(piece, subject, name), subject=subject, preprocess=name) for name in names]

    def _score_block(self, rows: np.ndarray, piece: Piece, pending: list[Score]) -> None:
        model = self._attacked_model(piece, pending[0].subject, rows)
        with _timer() as disturbing:
            images = piece.suite.disturb(rows, piece.condition, piece.context, model).to(self.workshop.device)
        for name in dict.fromkeys(score.preprocess for score in pending):
            sharing = [score for score in pending if score.preprocess == name]
            with _timer() as preprocessing:
                shown, outcomes = _preprocess(images, name, sharing[0].subject)
            for score in sharing:
                score.outcomes.update(outcomes)
                score.spend("disturb", disturbing[0])
                score.spend("preprocess", preprocessing[0])
                self._predict(score, shown, rows)

    def _attacked_model(self, piece: Piece, subject: Subject, rows: np.ndarray) -> nn.Module | None:
        if not piece.suite.needs_model:
            return None
        subject.defense.reseed(subject.model, derive(subject.seed, "attack", piece.condition.name, rows[0]))
        if piece.condition.threat == "adaptive":
            return Pipeline(subject.preprocessor, subject.model)
        return subject.model

    def _predict(self, score: Score, images: torch.Tensor, rows: np.ndarray) -> None:
        """Add a block's predictions to a score; a model that answers nonsense fails its own cell only."""
        if score.failure is not None:
            return
        score.subject.defense.reseed(score.subject.model, derive(score.subject.seed, score.cell.identity, rows[0]))
        try:
            with _timer() as predicting:
                predictions = predict(score.subject.model, images, len(self.workshop.dataset.classes), self._batch_size)
        except (HarnessError, RuntimeError, ValueError) as error:
            score.failure = _reason(error)
            return
        score.predictions.append(predictions)
        score.spend("predict", predicting[0])

    @property
    def _batch_size(self) -> int:
        return self.workshop.config.batch_size or 256

    def _record(self, score: Score, split: Split, seconds: float) -> None:
        if score.failure is not None:
            self.counts["failed"] += 1
            say(f"failed: {score.subject.label}, {score.cell.shown['condition']}: {score.failure}")
            self.records.fail(score.cell, score.failure, environment=self.environment, seconds=seconds)
            return
        self.counts["evaluated"] += 1
        details = {
            "seconds": {key: round(value, 4) for key, value in score.seconds.items()},
            "smoothing": dict(score.outcomes),
            "trained": score.subject.trained,
        }
        self.records.add(
            score.cell,
            np.concatenate(score.predictions),
            split.labels,
            split.indices,
            environment=self.environment,
            seconds=sum(score.seconds.values()),
            details=details,
        )

    def _cell(self, piece: Piece, subject: Subject, preprocess: str) -> Cell:
        split, condition = piece.context.split, piece.condition
        spec = {
            "code": CODE_VERSION,
            "data": split.digest,
            "images": hashlib.sha256(split.indices.astype("<i8").tobytes()).hexdigest(),
            "weights": subject.digest,
            "backbone": subject.backbone,
            "defense": subject.label,
            "seed": subject.seed,
            "suite": piece.suite.label,
            "suite_version": piece.suite.version,
            "condition": condition.name,
            "severity": condition.severity,
            "parameters": condition.parameters,
            "threat": condition.threat,
            "preprocess": preprocess,
        }
        if subject.defense.stochastic:
            spec["batch_size"] = self._batch_size  # a stochastic model draws once a batch
        return Cell(spec=spec, shown=self._shown(piece, subject, preprocess))

    def _shown(self, piece: Piece, subject: Subject, preprocess: str) -> dict[str, Any]:
        condition, dataset = piece.condition, self.workshop.dataset
        return {
            "dataset": dataset.name,
            "family": dataset.family,
            "backbone": subject.backbone,
            "defense": subject.label,
            "seed": subject.seed,
            "suite": piece.suite.label,
            "condition": condition.name,
            "severity": condition.severity,
            "threat": condition.threat or "",
            "preprocess": preprocess,
            "attack": condition.parameters.get("attack", ""),
            "norm": condition.parameters.get("norm", ""),
            "epsilon": condition.parameters.get("epsilon"),
            "epsilon_space": condition.parameters.get("epsilon_space", ""),
            "source": condition.source,
            "preset": self.workshop.config.preset,
            "weights": subject.digest,
        }


@torch.no_grad()
def predict(model: nn.Module, images: torch.Tensor, classes: int, batch_size: int = 256) -> np.ndarray:
    """The predicted class of each image: [N] int64.

    Raises: HarnessError when the model returns NaN or infinity, or another shape than [B,classes].
    """
    found = []
    for batch in images.split(batch_size):
        logits = model(batch.contiguous(memory_format=torch.channels_last))
        if logits.shape != (len(batch), classes):
            raise HarnessError(
                f"the model must return logits of shape {(len(batch), classes)}, got {tuple(logits.shape)}."
            )
        if not torch.isfinite(logits).all():
            raise HarnessError("the model returned NaN or infinity.")
        found.append(logits.argmax(1))
    return torch.cat(found).cpu().numpy()


@torch.no_grad()
def _preprocess(images: torch.Tensor, name: str, subject: Subject) -> tuple[torch.Tensor, dict[str, int]]:
    """The images as the network sees them; a preprocessor is given what a picture can hold, [0,1]."""
    if name == NONE:
        return images, {}
    shown = subject.preprocessor(images.clamp(0, 1))
    return shown, getattr(subject.preprocessor, "last_outcomes", {})


def _blocks(split: Split) -> Iterator[np.ndarray]:
    """Positions in the split, in blocks that fit in memory."""
    bytes_each = 4 * int(np.prod(split.images.shape[1:]))
    size = max(1, BLOCK_BYTES // bytes_each)
    for start in range(0, len(split), size):
        yield np.arange(start, min(start + size, len(split)))


def _suite_names(config: RunConfig) -> list[str]:
    if config.suites != ("all",):
        return [suites.canonical(name) for name in config.suites]
    others = [name for name in suites.names() if name not in DEFAULT_SUITES]
    return [*DEFAULT_SUITES, *others]


def _reason(error: Exception) -> str:
    first = str(error).splitlines()[0] if str(error) else "no message"
    return first if isinstance(error, HarnessError) else f"{type(error).__name__}: {first}"


class _timer:  # noqa: N801 (reads as a function)
    """`with _timer() as t:` leaves the seconds in t[0]."""

    def __enter__(self) -> list[float]:
        self.start, self.result = time.perf_counter(), [0.0]
        return self.result

    def __exit__(self, *_: object) -> None:
        self.result[0] = time.perf_counter() - self.start
