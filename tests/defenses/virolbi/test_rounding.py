"""Every iteration in float32 is float64's within rounding; and what is wrong by little more than that is noticed."""

from __future__ import annotations

import pytest
import torch
from support.rounding import (
    Truth,
    assert_one_iteration_within_rounding,
    assert_states_within_rounding,
    assert_within_rounding,
)
from support.smoothing_samples import BACKENDS, pictures

from defenses.virolbi import path, smooth
from defenses.virolbi.method import reference
from defenses.virolbi.method.reference import Edges
from defenses.virolbi.method.settings import SCHEMES, make_settings

SHAPES = [(1, 7, 6), (3, 12, 16)]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("nu", [0.25, 1.0, 16.0, 64.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_float32_computations_stay_within_rounding_of_float64(shape, nu, scheme):
    images, options = pictures(2, *shape), {"nu": nu, "scheme": scheme}
    truth, states = Truth(images, **options), dict.fromkeys(BACKENDS)

    for k in (1, 57, 900):
        for backend in BACKENDS:
            states[backend] = path(images, iterations=[k], state=states[backend], backend=backend, **options).state
            assert_states_within_rounding(states[backend].state, truth.at(k))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("nu", [0.25, 1.0, 16.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_iteration_loses_no_more_than_its_own_roundings(shape, nu, scheme, backend):
    images, options = pictures(2, *shape), {"nu": nu, "scheme": scheme}

    for k in (1, 57, 900):
        before = path(images, iterations=[k], **options).state
        after = path(images, iterations=[k + 1], state=before, backend=backend, **options).state
        assert_one_iteration_within_rounding(images, before, after.state)


# A bound that nothing breaks is none


def default_step(scheme: str, nu: float) -> float:
    return make_settings(16, 16, kappa=5.0, nu=nu, step=None, scheme=scheme).step


def heavier_column(u: torch.Tensor) -> Edges:
    """Du, in which the edges across the middle column count for 1 % more."""
    horizontal, vertical = DIFFERENCE(u)
    weights = torch.ones(horizontal.shape[-1])
    weights[7] = 1.01
    return Edges(horizontal * weights.to(u), vertical)


DIFFERENCE = reference.difference
WRONG = {
    "step": lambda scheme, nu: {"step": 1.01 * default_step(scheme, nu), "nu": nu},
    "weight": lambda scheme, nu: {"step": default_step(scheme, nu), "nu": 1.01 * nu},
    "kappa": lambda scheme, nu: {"step": default_step(scheme, nu), "nu": nu, "kappa": 5.05},
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("nu", [1.0, 16.0])
def test_a_factor_that_is_off_by_a_percent_is_beyond_rounding(wrong, scheme, nu):
    images, truth = pictures(2, 3, 16, 16), Truth(pictures(2, 3, 16, 16), nu=nu, scheme=scheme)
    off = {"scheme": scheme, **WRONG[wrong](scheme, nu)}
    right = path(images, iterations=[0], nu=nu, scheme=scheme).state.settings

    late = path(images, iterations=[900], **off).state

    k = 300 if wrong == "kappa" and scheme == "exact" else 57  # there κ does not matter before an edge has entered
    early = path(images, iterations=[k], **off).state.state
    with pytest.raises(AssertionError):
        assert_states_within_rounding(early, truth.at(k))
    after = path(images, iterations=[901], state=late, **off).state.state
    with pytest.raises(AssertionError):
        assert_one_iteration_within_rounding(images, late._replace(settings=right), after)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_path_that_is_a_percent_too_fast_stops_beyond_rounding(scheme):
    images, truth = pictures(2, 3, 16, 16), Truth(pictures(2, 3, 16, 16), scheme=scheme)

    smoothed = smooth(images, level=0.4, scheme=scheme, step=1.01 * default_step(scheme, 1.0))

    with pytest.raises(AssertionError):
        assert_within_rounding(smoothed, truth.walk(smoothed), level=0.4)


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("nu", [1.0, 16.0])
def test_an_iteration_more_or_less_is_beyond_rounding(by, scheme, nu):
    images, options = pictures(2, 3, 16, 16), {"nu": nu, "scheme": scheme}
    truth = Truth(images, **options).at(57)

    state = path(images, iterations=[57 + by], **options).state.state

    with pytest.raises(AssertionError):
        assert_states_within_rounding(state._replace(iterations=truth.iterations), truth)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("nu", [1.0, 16.0])
def test_a_weight_that_is_off_by_a_percent_at_some_edges_is_beyond_rounding(scheme, nu, monkeypatch):
    images, options = pictures(2, 3, 16, 16), {"nu": nu, "scheme": scheme, "backend": "reference"}
    truth, states = Truth(images, nu=nu, scheme=scheme), {}
    for k in (57, 900):
        truth.at(k)

    with monkeypatch.context() as patch:
        patch.setattr(reference, "difference", heavier_column)
        for k in (57, 58, 900):
            states[k] = path(images, iterations=[k], **options).state

    for k in (57, 900):
        with pytest.raises(AssertionError):
            assert_states_within_rounding(states[k].state, truth.at(k))
    with pytest.raises(AssertionError):
        assert_one_iteration_within_rounding(images, states[57], states[58].state)
