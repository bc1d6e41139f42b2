"""Plans a run: its suites and models become jobs."""

from __future__ import annotations

import dataclasses
import time

from harness.cache import digest_of
from harness.config import UNDEFENDED
from harness.contracts.model import inner_normalization
from harness.errors import UserError
from harness.evaluation.cells import cells_of
from harness.evaluation.jobs import Job
from harness.evaluation.setup import RunSetup, Training
from harness.models.defended import DefendedModel
from harness.progress import say
from harness.records.plan import Plan, PlannedJob, PlannedTraining
from harness.suites.base import Suite, SuiteContext
from harness.types import Condition


def check_suites(setup: RunSetup) -> None:
    """Check that the run's suites can be planned, before any of its models is trained.

    Raises: UserError for a suite's options that do not fit the run.
    """
    for suite in setup.suites:
        context = _context(suite, setup)
        for surrogates in dict.fromkeys(candidate.preprocessor.surrogates for candidate in setup.candidates):
            _conditions(suite, dataclasses.replace(context, surrogates=surrogates))


class Planner:
    """Makes jobs of suites and models. transfer: the model of `--transfer-from`."""

    def __init__(self, setup: RunSetup, transfer: DefendedModel | None) -> None:
        self.setup = setup
        self.transfer = transfer

    def plan(self, models: list[DefendedModel]) -> list[Job]:
        """Every condition of every suite; models share the images where these do not depend on the model."""
        return [job for suite in self.setup.suites if models for job in self._plan(suite, models)]

    def _plan(self, suite: Suite, models: list[DefendedModel]) -> list[Job]:
        context = _context(suite, self.setup)
        if suite.needs_model:
            return self._plan_attacks(suite, context, models)
        return [Job(suite, condition, context, models) for condition in suite.conditions(context)]

    def _plan_attacks(self, suite: Suite, context: SuiteContext, models: list[DefendedModel]) -> list[Job]:
        """Model by model. Transfer examples that are the same for several models are made in one job."""
        jobs: list[Job] = []
        transfers: dict[tuple[str, ...], Job] = {}
        for model in models:
            source = self._source(models, model)
            own = self._own_context(context, model, source)
            for condition in _conditions(suite, own):
                if source is None or condition.threat != "transfer":
                    jobs.append(Job(suite, condition, own, [model], attacked=model))
                elif (key := _transfer_key(condition, source, model)) in transfers:
                    transfers[key].models.append(model)
                else:
                    transfers[key] = Job(suite, condition, own, [model], attacked=source)
                    jobs.append(transfers[key])
        return jobs

    def _own_context(self, context: SuiteContext, model: DefendedModel, source: DefendedModel | None) -> SuiteContext:
        """What a suite that attacks models may know of one."""
        quick = self.setup.config.preset == "quick"
        return dataclasses.replace(
            context,
            seed=model.seed,
            target=model.model,
            stochastic=model.defense.stochastic,
            surrogates=model.preprocessor.surrogates,
            on_request=model.preprocessor.costly_surrogates if quick else (),
            has_transfer=source is not None,
            stochastic_source=source is not None and source.defense.stochastic,
        )

    def _source(self, models: list[DefendedModel], target: DefendedModel) -> DefendedModel | None:
        """The model that a target's transfer examples are made on: `--transfer-from`, else another one of the run."""
        if self.transfer is None:
            return other_model(models, target)
        if self.transfer.digest == target.digest:
            say(f"{target.label} (seed {target.seed}) is the model of --transfer-from itself: no transfer to it.")
            return None
        return self.transfer


def _conditions(suite: Suite, context: SuiteContext) -> list[Condition]:
    """A suite's conditions. Raises: UserError for a transfer where there is no model to make examples on."""
    conditions = suite.conditions(context)
    if suite.needs_model and not context.has_transfer and any(each.threat == "transfer" for each in conditions):
        raise UserError(
            f"the suite {suite.label} plans a transfer attack where there is no other model to make examples on. "
            "Plan one only where context.has_transfer is set."
        )
    return conditions


def _context(suite: Suite, setup: RunSetup) -> SuiteContext:
    """What a suite may know of the run, whatever the model."""
    config, dataset = setup.config, setup.dataset
    return SuiteContext(
        dataset=dataset,
        split=dataset.test().take(config.test_limit(suite.limit, adversarial=suite.needs_model)),
        seed=0,
        corruptions=config.corruptions,
        attacks=config.attacks,
        norm=config.norm,
        epsilons=config.epsilons,
        epsilon_space=config.epsilon_space,
        batch_size=setup.batch_size,
    )


def _transfer_key(condition: Condition, source: DefendedModel, target: DefendedModel) -> tuple[str, ...]:
    """A key; targets with equal keys get the same examples, which depend on the target's seed and normalisation too.

    A target without a normalisation, and every later stage of an attack, has a key of its own.
    """
    try:
        normalization = inner_normalization(target.model).std.cpu().numpy().tobytes().hex()
    except UserError:
        normalization = target.digest
    alone = target.digest if condition.after is not None else ""
    parameters = digest_of({"severity": condition.severity, **condition.parameters})
    return condition.name, parameters, source.digest, str(target.seed), normalization, alone


def other_model(models: list[DefendedModel], target: DefendedModel) -> DefendedModel | None:
    """Another model of the run: the undefended one if there is one, of the target's seed if there is one."""
    others = [model for model in models if model.digest != target.digest]
    return min(others, key=lambda other: (other.defense.label != UNDEFENDED, other.seed != target.seed), default=None)


def training_plan(setup: RunSetup) -> Plan:
    """The plan of a run before its jobs are known: its trainings, done or not."""
    jobs = [candidate.source.job for candidate in setup.candidates if isinstance(candidate.source, Training)]
    trainings = [
        PlannedTraining(
            f"{job.defense.label} (seed {job.seed})",
            job.path.relative_to(setup.config.out).as_posix(),
            job.recipe.epochs,
        )
        for job in jobs
    ]
    return Plan(time.time(), trainings)


def planned_job(job: Job) -> PlannedJob:
    """A job as the plan notes it."""
    return PlannedJob(job_name(job), tuple(cell.planned.identity for cell in cells_of(job)))


def job_name(job: Job) -> str:
    """A job in one line: suite, condition, severity, threat model, and its models in parentheses."""
    names = ", ".join(dict.fromkeys(model.label for model in job.models))
    words = [job.suite.label, job.condition.name, str(job.condition.severity or ""), job.condition.threat or ""]
    return f"{' '.join(dict.fromkeys(filter(None, words)))} ({names})"
