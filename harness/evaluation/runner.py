"""Plan the cells of a run, skip what is recorded, evaluate the rest, record each as it is done."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from harness.cache import ArrayCache
from harness.config import DEFAULT_SUITES, RunConfig
from harness.errors import HarnessError, UserError
from harness.evaluation.jobs import Piece, Score, cell_of, scores_of
from harness.evaluation.planner import Planner
from harness.models.modules import Pipeline
from harness.models.sources import Subject, Workshop
from harness.progress import say, track
from harness.records.database import Records
from harness.records.environment import describe_environment
from harness.records.plan import Plan, PlannedJob, note_plan
from harness.records.schema import NO_PREPROCESS, Description, Details, PlannedCell
from harness.registry import datasets, suites
from harness.seeding import derive
from harness.training.observer import Observer
from harness.types import Split

BLOCK_BYTES = 2**26
"""How much a block of test images may take as float32."""


class Outcome(NamedTuple):
    """How many cells a run evaluated, found recorded already, and could not evaluate."""

    evaluated: int
    skipped: int
    failed: int


def run(config: RunConfig, cache: ArrayCache) -> Outcome:
    """Train or load every defense of the run, and take each through every suite.

    Raises: UserError for anything wrong in what the user gave. What fails on the way (a training, a cell) is
    recorded as failed and counted, and the run goes on.
    """
    workshop = open_workshop(config, cache)
    chosen = [suites.create(name) for name in _suite_names(config)]
    with contextlib.closing(workshop.observer), Records.open(config.out, write=True) as records:
        runner = Runner(workshop, records)
        pairs = workshop.pairs()
        for suite in chosen:
            runner.planner.check(suite, [label for label, _ in pairs])
        plan = Plan(time.time(), workshop.planned_trainings(pairs))
        note_plan(config.out, plan)
        subjects = [subject for pair in pairs if (subject := runner.prepare(*pair)) is not None]
        pieces = [piece for suite in chosen if subjects for piece in runner.planner.plan(suite, subjects)]
        note_plan(config.out, plan._replace(jobs=[_planned(piece, workshop) for piece in pieces]))
        for piece in track(pieces, "score", name=_name):
            runner.evaluate(piece)
    return runner.outcome()


def open_workshop(config: RunConfig, cache: ArrayCache) -> Workshop:
    """The data set and device of a run, checked."""
    dataset = datasets.create(config.dataset, data_root=config.data_root, cache=cache)
    device = pick_device(config.device)
    return Workshop(config=config, dataset=dataset, cache=cache, device=device, observer=_observer(config))


def _observer(config: RunConfig) -> Observer:
    """Who looks on at a run."""
    if not config.tensorboard:
        return Observer()
    from harness.evaluation.tensorboard import FOLDER, TensorBoard

    return TensorBoard(config.out / FOLDER)


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device expects auto, cpu or an available device such as cuda:0, got {name!r}. Use --device cpu."
        ) from error
    return device


class Runner:
    """Evaluates pieces into records."""

    def __init__(self, workshop: Workshop, records: Records) -> None:
        self.workshop = workshop
        self.records = records
        self.planner = Planner(workshop)
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
        description = Description(
            dataset=self.workshop.dataset.name,
            backbone="",
            defense=label,
            seed=seed,
            suite="",
            condition="training",
            preprocess="",
        )
        attempt = PlannedCell(spec={"training": about}, description=description)
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

    def evaluate(self, piece: Piece) -> None:
        """Score whatever of a piece is not recorded yet, and record it."""
        scores = scores_of(piece, self.workshop)
        pending = [score for score in scores if not self.records.use(score.cell.identity)]
        self.counts["skipped"] += len(scores) - len(pending)
        left = self._left(piece, scores[0], pending) if piece.condition.after else None
        for rows in _blocks(piece.context.split):
            if alive := [score for score in pending if score.failure is None]:
                self._score_block(rows, rows if left is None else rows[left[rows]], piece, alive)
        for score in pending:
            self._record(score, piece.context.split)

    def _left(self, piece: Piece, first: Score, pending: list[Score]) -> np.ndarray | None:
        """[N] bool: the images that the attack's stages before this one left correct in the first of its scores.

        Every score takes over its own predictions of the stage before; where there are none, it fails.
        """
        assert piece.condition.after is not None
        before = piece._replace(condition=piece.condition.after)
        for score in dict.fromkeys([first, *pending]):
            try:
                cell = cell_of(before, score.subject, score.preprocess, self.workshop)
                score.before = self.records.predictions(cell.identity)
            except UserError:
                score.failure = f"the stage before it, {before.condition.name}, was not scored"
        return None if first.before is None else first.before == piece.context.split.labels

    def _score_block(self, block: np.ndarray, rows: np.ndarray, piece: Piece, pending: list[Score]) -> None:
        """Disturb the rows of a block once, preprocess them once a preprocessor, and let every model predict."""
        for score in pending:
            score.predictions.append(np.full(len(block), -1) if score.before is None else score.before[block].copy())
        if not len(rows):
            return
        with self._work("disturb", pending):
            model = self._attacked_model(piece, pending[0].subject, rows)
            images = piece.suite.disturb(rows, piece.condition, piece.context, model).to(self.workshop.device)
            for score in pending:
                score.flags.update(dict.fromkeys(piece.suite.last_flags))
                score.measures.update({name: v * len(rows) for name, v in piece.suite.last_measures.items()})
                score.disturbed += len(rows)
        if pending[0].failure is not None:
            return
        places = np.searchsorted(block, rows)
        for name in dict.fromkeys(score.preprocess for score in pending):
            sharing = [score for score in pending if score.preprocess == name]
            with self._work("preprocess", sharing):
                shown = self._preprocess(images, sharing)
            for score in (score for score in sharing if score.failure is None):
                with self._work("predict", [score]):
                    score.predictions[-1][places] = self._predict(score, shown, rows)
                self.workshop.observer.scored(piece, score, images, shown)

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
        attacked = piece.source or subject
        attacked.defense.reseed(attacked.model, derive(subject.seed, "attack", piece.condition.name, rows[0]))
        if piece.condition.threat == "adaptive":
            return Pipeline(subject.preprocessor.through(piece.condition.parameters["gradient"]), subject.model)
        return attacked.model

    @torch.no_grad()
    def _preprocess(self, images: torch.Tensor, sharing: list[Score]) -> torch.Tensor:
        """The images as the network sees them; a preprocessor is given what a picture can hold, [0,1]."""
        if sharing[0].preprocess == NO_PREPROCESS:
            return images
        preprocessor = sharing[0].subject.preprocessor
        shown = preprocessor(images.clamp(0, 1))
        for score in sharing:
            score.outcomes.update(getattr(preprocessor, "last_outcomes", {}))
        return shown

    def _predict(self, score: Score, images: torch.Tensor, rows: np.ndarray) -> np.ndarray:
        subject = score.subject
        subject.defense.reseed(subject.model, derive(subject.seed, score.cell.identity, rows[0]))
        classes = len(self.workshop.dataset.classes)
        return predict(subject.model, images, classes, self.workshop.batch_size)

    def _record(self, score: Score, split: Split) -> None:
        seconds = sum(score.seconds.values())
        if score.failure is not None:
            self._fail(score.cell, score.failure, seconds)
            return
        self.counts["evaluated"] += 1
        details = Details(
            seconds={key: round(value, 4) for key, value in score.seconds.items()},
            outcomes=dict(score.outcomes),
            flags=tuple(score.flags),
            measures={name: value / score.disturbed for name, value in score.measures.items()},
            trained=score.subject.trained,
        )
        self.records.add(
            score.cell,
            np.concatenate(score.predictions),
            split.labels,
            split.indices,
            environment=self.environment,
            seconds=seconds,
            details=details,
        )
        self.workshop.observer.recorded(score)

    def _fail(self, cell: PlannedCell, reason: str, seconds: float) -> None:
        self.counts["failed"] += 1
        say(f"failed: {cell.description.defense}, {cell.description.condition}: {reason}")
        self.records.fail(cell, reason, environment=self.environment, seconds=seconds)


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


def _planned(piece: Piece, workshop: Workshop) -> PlannedJob:
    return PlannedJob(_name(piece), tuple(score.cell.identity for score in scores_of(piece, workshop)))


def _name(piece: Piece) -> str:
    """What is scored on whom."""
    names = ", ".join(dict.fromkeys(subject.label for subject in piece.subjects))
    words = [piece.suite.label, piece.condition.name, str(piece.condition.severity or ""), piece.condition.threat or ""]
    return f"{' '.join(dict.fromkeys(filter(None, words)))} ({names})"


def _blocks(split: Split) -> Iterator[np.ndarray]:
    """Positions in the split, in blocks that fit in memory."""
    bytes_each = 4 * int(np.prod(split.images.shape[1:]))
    size = max(1, BLOCK_BYTES // bytes_each)
    for start in range(0, len(split), size):
        yield np.arange(start, min(start + size, len(split)))


def _suite_names(config: RunConfig) -> list[str]:
    if config.suites != ("all",):
        return [suites.canonical(name) for name in config.suites]
    others = [entry.name for entry in suites if entry.name not in DEFAULT_SUITES]
    return [*DEFAULT_SUITES, *(name for name in others if getattr(suites.entry(name).factory, "in_all", True))]


def _reason(error: Exception) -> str:
    """One line: what went wrong and, unless the harness itself says it, where."""
    first = str(error).splitlines()[0] if str(error) else "no message"
    if isinstance(error, HarnessError):
        return first
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first} ({Path(last.filename).name}:{last.lineno})"
