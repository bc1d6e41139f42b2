"""What a run evaluates: every condition of its suites, on the models that it is for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from harness.cache import digest_of
from harness.errors import UserError
from harness.evaluation.jobs import Piece
from harness.models.modules import inner_normalization
from harness.models.sources import Subject, Workshop
from harness.progress import say
from harness.suites.base import Suite, SuiteContext
from harness.types import Condition


class Planner:
    """Makes pieces of suites and models."""

    def __init__(self, workshop: Workshop) -> None:
        """Raises: UserError for a `--transfer-from` that holds no model for this run."""
        self.workshop = workshop
        self._given_source = workshop.transfer_source()

    def check(self, suite: Suite, labels: list[str]) -> None:
        """See whether a suite can be planned for the defenses of these labels, none of which is trained yet.

        Raises: UserError for options that cannot be.
        """
        context = self._context(suite)
        for ways in dict.fromkeys(map(self.workshop.ways, labels)):
            suite.conditions(dataclasses.replace(context, gradients=ways))

    def plan(self, suite: Suite, subjects: list[Subject]) -> Iterator[Piece]:
        """Every condition of a suite; models share the images where these do not depend on the model."""
        context = self._context(suite)
        if suite.needs_model:
            yield from self._plan_attacks(suite, context, subjects)
            return
        for condition in suite.conditions(context):
            yield Piece(suite, condition, context, subjects)

    def _plan_attacks(self, suite: Suite, context: SuiteContext, subjects: list[Subject]) -> list[Piece]:
        """Model by model; what is made on one source for a transfer is shown to every model that it is the same for."""
        pieces: list[Piece] = []
        transfers: dict[tuple[str, ...], Piece] = {}
        for subject in subjects:
            source = self._source(subjects, subject)
            own = self._own(context, subject, source)
            for condition in suite.conditions(own):
                if source is None or condition.threat != "transfer":
                    pieces.append(Piece(suite, condition, own, [subject]))
                elif (key := _same_transfer(condition, source, subject)) in transfers:
                    transfers[key].subjects.append(subject)
                else:
                    transfers[key] = Piece(suite, condition, own, [subject], source)
                    pieces.append(transfers[key])
        return pieces

    def _context(self, suite: Suite) -> SuiteContext:
        """What a suite may know of the run, whatever the model."""
        config, dataset = self.workshop.config, self.workshop.dataset
        return SuiteContext(
            dataset=dataset,
            split=dataset.test().take(config.test_limit(suite.limit, adversarial=suite.needs_model)),
            seed=0,
            corruptions=config.corruptions,
            attacks=config.attacks,
            norm=config.norm,
            epsilons=config.epsilons,
            epsilon_space=config.epsilon_space,
            batch_size=self.workshop.batch_size,
        )

    def _own(self, context: SuiteContext, subject: Subject, source: Subject | None) -> SuiteContext:
        """What a suite that attacks models may know of one."""
        return dataclasses.replace(
            context,
            seed=subject.seed,
            target=subject.model,
            stochastic=subject.defense.stochastic,
            gradients=subject.preprocessor.surrogates,
            left_out=subject.preprocessor.costly_surrogates if self.workshop.config.preset == "quick" else (),
            has_transfer=source is not None,
            stochastic_source=source is not None and source.defense.stochastic,
        )

    def _source(self, subjects: list[Subject], target: Subject) -> Subject | None:
        """The model whose adversarial examples a target is shown: `--transfer-from`, else another one of the run."""
        given = self._given_source
        if given is None:
            return other_model(subjects, target)
        if given.digest == target.digest:
            say(f"{target.label} (seed {target.seed}) is the model of --transfer-from itself: no transfer to it.")
            return None
        return given


def _same_transfer(condition: Condition, source: Subject, target: Subject) -> tuple[str, ...]:
    """Equal for targets that are shown the same examples: these depend on the target's seed and normalisation.

    A target that holds no normalisation, or an attack's later stage, shares with nobody.
    """
    try:
        measure = inner_normalization(target.model).std.cpu().numpy().tobytes().hex()
    except UserError:
        measure = target.digest
    alone = target.digest if condition.after is not None else ""
    what = digest_of({"severity": condition.severity, **condition.parameters})
    return condition.name, what, source.digest, str(target.seed), measure, alone


def other_model(subjects: list[Subject], target: Subject) -> Subject | None:
    """Another model of the run, the undefended one if it can be."""
    others = [subject for subject in subjects if subject.digest != target.digest]
    return min(others, key=lambda other: (other.defense.label != "vanilla", other.seed != target.seed), default=None)
