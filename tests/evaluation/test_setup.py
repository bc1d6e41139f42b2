"""A run's options resolved: what was given wins, and what runs share is there once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.errors import UserError
from harness.evaluation.setup import resolve


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(defenses=("vanilla", "virolbi_fixed"), seeds=(0, 1), train_limit=8, out=tmp_path / "out")


def test_a_level_that_was_given_wins_over_the_usual_one(config: RunConfig, cache: ArrayCache) -> None:
    assert resolve(config, cache).smoothing == {"level": 0.6}
    given = resolve(dataclasses.replace(config, level=0.1), cache)

    assert given.smoothing == {"level": 0.1}
    assert {candidate.label for candidate in given.candidates} == {"vanilla", "virolbi_fixed:level=0.1"}
    assert {candidate.preprocessor.label for candidate in given.candidates} == {"virolbi:level=0.1"}


def test_all_trainings_share_the_images_and_none_a_defense(config: RunConfig, cache: ArrayCache) -> None:
    jobs = [candidate.source.job for candidate in resolve(config, cache).candidates]

    assert [(job.defense.label, job.seed) for job in jobs] == [
        *(("vanilla", 0), ("vanilla", 1), ("virolbi_fixed", 0), ("virolbi_fixed", 1))
    ]
    assert len({id(job.split.images) for job in jobs}) == 1
    assert len({id(job.defense) for job in jobs}) == 4


def test_a_checkpoint_is_for_one_defense_and_one_seed(config: RunConfig, cache: ArrayCache) -> None:
    with pytest.raises(UserError, match="for one defense and one seed, got 2 of them"):
        resolve(dataclasses.replace(config, defenses=None, checkpoint="any.pt"), cache)
