"""Named streams of random numbers: reproducible, distinct, and none of them global."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness import seeding
from harness.seeding import derive, generator, uniform_rows

SHAPE = (3, 4, 5)


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(seeding).failed == 0


def test_a_derived_seed_is_the_same_on_every_machine_and_day() -> None:
    """First eight bytes of SHA-256 of the text "0/training", little-endian, halved."""
    assert derive(0, "training") == 0x5578C24FE1BFE52F


@given(st.integers(), st.lists(st.text()))
def test_a_derived_seed_has_63_bits(seed: int, names: list[str]) -> None:
    assert 0 <= derive(seed, *names) < 2**63


def test_seeds_of_different_names_differ() -> None:
    names = [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("a", 1), ("a", 2)]

    assert len({derive(seed, *name) for seed in range(20) for name in names}) == 20 * len(names)


def test_generators_of_one_name_agree_and_of_another_do_not() -> None:
    first, again, other = (torch.rand(50, generator=generator(1, *names)) for names in [("x", 2), ("x", 2), ("x", 3)])

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_global_random_state_is_left_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 (what is being checked)

    generator(0, "x")
    uniform_rows(SHAPE, 0, "x", np.arange(3))

    assert torch.equal(torch.get_rng_state(), torch_state)
    assert str(np.random.get_state()) == str(numpy_state)  # noqa: NPY002 (what is being checked)


@given(st.permutations(range(5)), st.integers(1, 5))
def test_a_row_depends_on_its_index_alone(order: list[int], count: int) -> None:
    indices = np.array(order[:count]) * 1000
    everything = uniform_rows(SHAPE, 3, "start", np.arange(5) * 1000)

    assert torch.equal(uniform_rows(SHAPE, 3, "start", indices), everything[torch.tensor(order[:count])])


@pytest.mark.parametrize(("seed", "name"), [(1, "start"), (0, "other")])
def test_another_seed_or_name_gives_other_rows(seed: int, name: str) -> None:
    indices = np.arange(2)

    assert not torch.equal(uniform_rows(SHAPE, 0, "start", indices), uniform_rows(SHAPE, seed, name, indices))


def test_rows_are_uniform_over_both_signs() -> None:
    rows = uniform_rows((2000,), 0, "start", np.arange(5))

    assert rows.dtype == torch.float32
    assert rows.shape == (5, 2000)
    assert stats.kstest(rows.flatten().numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.001
