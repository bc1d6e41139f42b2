"""What a class from outside may not define: what nobody would read, and what no run could use."""

from __future__ import annotations

import re

import pytest

from harness.attacks.base import Attack
from harness.contracts.defense import Preprocessor
from harness.errors import UserError
from harness.suites.base import Suite


@pytest.mark.parametrize(
    ("base", "former", "now"),
    [
        (Preprocessor, {"gradient": "bpda"}, 'a tuple of names, such as ("bpda",)'),
        (Preprocessor, {"gradients": ("bpda", "identity")}, "`surrogates`"),
        (Preprocessor, {"costly": ("unrolled",)}, "`costly_surrogates`"),
        (Preprocessor, {"through": lambda self, name: self}, "the method `with_surrogate`"),
        (Preprocessor, {"last_outcomes": {}}, "Preprocessed(images, outcomes)"),
        (Suite, {"disturb": lambda self, *given: None}, "the method `perturb`"),
        (Suite, {"last_flags": ()}, "Perturbed(images, flags, measures)"),
        (Attack, {"flags": ()}, "AttackResult(images, flags, measures)"),
    ],
)
def test_what_was_renamed_is_refused_with_its_new_name(base: type, former: dict, now: str) -> None:
    (name,) = former
    with pytest.raises(UserError, match=rf"Former defines `{name}`, which is no longer read.*{re.escape(now)}"):
        type("Former", (base,), former)


@pytest.mark.parametrize("surrogates", ["bpda", (), ("",), ("bpda", 1), ["bpda"]])
def test_surrogates_that_are_no_names_are_refused(surrogates: object) -> None:
    with pytest.raises(UserError, match=r"Wrong: expected surrogates to be names, such as surrogates = .*, got "):
        type("Wrong", (Preprocessor,), {"surrogates": surrogates})
