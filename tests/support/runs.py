"""Runs of which tests want the models or the jobs alone."""

from __future__ import annotations

from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.evaluation.obtain import obtain
from harness.evaluation.setup import resolve
from harness.models.defended import DefendedModel


def defended_models(config: RunConfig, cache: ArrayCache) -> list[DefendedModel]:
    """The models of a run, trained or loaded: every defense at every seed."""
    setup = resolve(config, cache)
    return [obtain(candidate, setup) for candidate in setup.candidates]
