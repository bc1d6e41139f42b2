"""Whether adaptive attacks can be believed: conditions that a defense fails when it only hides its gradient."""

from __future__ import annotations

import dataclasses

from harness.errors import UserError, unknown_name
from harness.registry import suites
from harness.suites.adversarial import EOT_DRAWS, Adversarial
from harness.suites.base import SuiteContext, known_surrogates
from harness.types import Condition

CURVE = (1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255, 64 / 255, 128 / 255)
"""Radii of the curve of accuracy against ε, up to one at which nothing can be told any more."""


@suites.register("masking")
class Masking(Adversarial):
    """Checks on attacks: many steps over a range of ε, black box, transfer, another loss, more effort; not in `all`.

    epsilon: the radius at which attacks are compared; 0 for the run's first.
    steps, restarts: of the attack with more effort than PGD-20.
    queries: of the black-box attack, for each image.
    gradient: the surrogate gradient of a preprocessor; "" for its usual one.
    """

    in_all = False
    purpose = "diagnostic"

    def __init__(
        self,
        *,
        epsilon: float = 0.0,
        steps: int = 100,
        restarts: int = 5,
        queries: int = 1000,
        gradient: str = "",
        limit: int | None = None,
        draws: int = EOT_DRAWS,
    ) -> None:
        super().__init__(limit=limit, draws=draws)
        if not 0 <= epsilon <= 1:
            raise UserError(f"masking: epsilon must be above 0 and at most 1, got {epsilon:g}.")
        if gradient and gradient not in known_surrogates():
            raise unknown_name("gradient", gradient, known_surrogates())
        self.epsilon, self.gradient = epsilon, gradient
        self.probes = (
            "landscape",
            f"square:queries={queries}",
            "apgd",
            "pgd:loss=margin",
            f"pgd:steps={steps},restarts={restarts}",
        )

    def conditions(self, context: SuiteContext) -> list[Condition]:
        """The curve of FGSM and PGD, then the other attacks at one radius, all adaptive; PGD's transfer there."""
        if self.gradient and self.gradient not in context.surrogates:
            raise UserError(
                f"masking: gradient must be one of the preprocessor's {'/'.join(context.surrogates)}, "
                f"got {self.gradient}."
            )
        at = self.epsilon or context.epsilons[0]
        one_surrogate = dataclasses.replace(context, norm="Linf", surrogates=(self.gradient or context.surrogates[0],))
        curve = dataclasses.replace(one_surrogate, epsilons=tuple(sorted({*CURVE, at})))
        here = dataclasses.replace(one_surrogate, epsilons=(at,))
        return [
            *self.planned(curve, ("adaptive",), ("fgsm", "pgd")),
            *self.planned(here, ("adaptive",), self.probes),
            *self.planned(here, ("transfer",), ("pgd",)),
        ]
