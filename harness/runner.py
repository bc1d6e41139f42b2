"""Plan the cells of a run, skip what is recorded, evaluate the rest, record each as it is done."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
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

    Raises: UserError for anything wrong in what the user gave. What fails on the way (a training, a cell) is
    recorded as failed and counted, and the run goes on.
    """
    workshop = open_workshop(config, cache)
    chosen = [suites.create(name) for name in _suite_names(config)]
    with Records.open(config.out, write=True) as records:
        runner = Runner(workshop, records)
        pairs = workshop.pairs()
        for suite in chosen:  # refuses bad options before anything is trained
            list(runner.plan(suite, []))
        subjects = [subject for pair in pairs if (subject := runner.prepare(*pair)) is not None]
        pieces = [piece for suite in chosen if subjects for piece in runner.plan(suite, subjects)]
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

    def prepare(self, label: str, seed: int) -> Subject | None:
        """The trained model of a defense, or None when its training failed, which is recorded."""
        if self.workshop.config.checkpoint is not None:
            return self.workshop.subject(label, seed)
        about = self.workshop.about(label, seed)
        shown = {"dataset": self.workshop.dataset.name, "defense": label, "seed": seed, "condition": "training"}
        attempt = Cell(spec={"training": about}, shown=shown)
        start = time.perf_counter()
        try:
            subject = self.workshop.subject(label, seed)
        except UserError:
            raise
        except Exception as error:  # one bad training must not take the others with it
            self._fail(attempt, _reason(error), time.perf_counter() - start)
            return None
        self.records.forget_failure(attempt.identity)
        return subject

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
                corruptions=config.corruptions,
                epsilons=config.epsilons,
                epsilon_space=config.epsilon_space,
                stochastic=suite.needs_model and bool(group) and group[0].defense.stochastic,
                batch_size=self._batch_size,
            )
            for condition in suite.conditions(context):
                yield Piece(suite, condition, context, group)

    def evaluate(self, piece: Piece) -> None:
        """Score whatever of a piece is not recorded yet, and record it."""
        scores = [score for subject in piece.subjects for score in self._scores(piece, subject)]
        pending = [score for score in scores if not self.records.use(score.cell.identity)]
        self.counts["skipped"] += len(scores) - len(pending)
        for rows in _blocks(piece.context.split):
            if alive := [score for score in pending if score.failure is None]:
                self._score_block(rows, piece, alive)
        for score in pending:
            self._record(score, piece.context.split)

    def _scores(self, piece: Piece, subject: Subject) -> list[Score]:
        preprocessed = subject.preprocessor.label
        names = [preprocessed] if piece.condition.threat == "adaptive" else [NONE, preprocessed]
        return [Score(cell=self._cell(piece, subject, name), subject=subject, preprocess=name) for name in names]

    def _score_block(self, rows: np.ndarray, piece: Piece, pending: list[Score]) -> None:
        """Disturb a block once, preprocess it once a preprocessor, and let every model predict."""
        with self._work("disturb", pending):
            model = self._attacked_model(piece, pending[0].subject, rows)
            images = piece.suite.disturb(rows, piece.condition, piece.context, model).to(self.workshop.device)
        if pending[0].failure is not None:
            return
        for name in dict.fromkeys(score.preprocess for score in pending):
            sharing = [score for score in pending if score.preprocess == name]
            with self._work("preprocess", sharing):
                shown = self._preprocess(images, sharing)
            for score in (score for score in sharing if score.failure is None):
                with self._work("predict", [score]):
                    self._predict(score, shown, rows)

    @contextlib.contextmanager
    def _work(self, what: str, scores: list[Score]) -> Iterator[None]:
        """Count time towards every cell that needs this work; an error in it fails these cells and no others."""
        start = time.perf_counter()
        try:
            yield
        except Exception as error:  # attacks, preprocessors and models may be anybody's
            for score in scores:
                score.failure = score.failure or _reason(error)
        if self.workshop.device.type == "cuda":
            torch.cuda.synchronize(self.workshop.device)
        for score in scores:
            score.spend(what, time.perf_counter() - start)

    def _attacked_model(self, piece: Piece, subject: Subject, rows: np.ndarray) -> nn.Module | None:
        if not piece.suite.needs_model:
            return None
        subject.defense.reseed(subject.model, derive(subject.seed, "attack", piece.condition.name, rows[0]))
        if piece.condition.threat == "adaptive":
            return Pipeline(subject.preprocessor, subject.model)
        return subject.model

    @torch.no_grad()
    def _preprocess(self, images: torch.Tensor, sharing: list[Score]) -> torch.Tensor:
        """The images as the network sees them; a preprocessor is given what a picture can hold, [0,1]."""
        if sharing[0].preprocess == NONE:
            return images
        preprocessor = sharing[0].subject.preprocessor
        shown = preprocessor(images.clamp(0, 1))
        for score in sharing:
            score.outcomes.update(getattr(preprocessor, "last_outcomes", {}))
        return shown

    def _predict(self, score: Score, images: torch.Tensor, rows: np.ndarray) -> None:
        subject = score.subject
        subject.defense.reseed(subject.model, derive(subject.seed, score.cell.identity, rows[0]))
        classes = len(self.workshop.dataset.classes)
        score.predictions.append(predict(subject.model, images, classes, self._batch_size))

    @property
    def _batch_size(self) -> int:
        return self.workshop.config.batch_size or 256

    def _record(self, score: Score, split: Split) -> None:
        seconds = sum(score.seconds.values())
        if score.failure is not None:
            self._fail(score.cell, score.failure, seconds)
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
            seconds=seconds,
            details=details,
        )

    def _fail(self, cell: Cell, reason: str, seconds: float) -> None:
        self.counts["failed"] += 1
        say(f"failed: {cell.shown['defense']}, {cell.shown['condition']}: {reason}")
        self.records.fail(cell, reason, environment=self.environment, seconds=seconds)

    def _cell(self, piece: Piece, subject: Subject, preprocess: str) -> Cell:
        split, condition = piece.context.split, piece.condition
        spec = {
            "code": {"scoring": CODE_VERSION, "suite": suites.fingerprint(piece.suite.label), **subject.code},
            "data": _data_digest(split),
            "weights": subject.digest,
            "backbone": subject.backbone,
            "defense": subject.label,
            "seed": subject.seed,
            "suite": piece.suite.label,
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
        condition, dataset, trained = piece.condition, self.workshop.dataset, subject.trained
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
            "preset": trained.get("preset", ""),
            "epochs": trained.get("recipe", {}).get("epochs"),
            "train_images": trained.get("images"),
            "amp": trained.get("amp", False),
            "altered": trained.get("altered", False),
            "gradient": "" if preprocess == NONE else subject.preprocessor.gradient,
            "draws": condition.parameters.get("draws", 1),
            "data": _data_digest(piece.context.split)[:16],
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


def _data_digest(split: Split) -> str:
    """SHA-256 of the data set and of which of its images are taken."""
    return hashlib.sha256(split.digest.encode() + split.indices.astype("<i8").tobytes()).hexdigest()


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
    """One line: what went wrong and, unless the harness itself says it, where."""
    first = str(error).splitlines()[0] if str(error) else "no message"
    if isinstance(error, HarnessError):
        return first
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first} ({Path(last.filename).name}:{last.lineno})"
