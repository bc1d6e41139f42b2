"""What the benchmarks share: the yardstick, and a summary of ratios after `--benchmark-enable`.

Those on CIFAR-10 take its test images from the folder that the environment variable VIROLBI_CIFAR names, in the layout
that `parquet:DIR` reads (see `cifar_images` in ../conftest.py), and are skipped where there is none.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch

OURS = "ours"


class Goal(NamedTuple):
    """What is to be reached: in a group, times as fast as another (`than`), or so much a second (None)."""

    group: str
    least: float
    than: str | None = None


GOALS = (
    Goal("15,000 iterations, 84×84×1", 30, "simple"),
    Goal("15,000 iterations, 84×84×1, a projection in each", 6, "simple"),
    Goal("15,000 iterations, 84×84×1, a projection in each", 8, "csgraph"),
    Goal("15,000 iterations, 84×84×1, a projection in each", 300, "lsqr"),
    Goal("an iteration, 32×32×3, 1 thread", 10, "simple"),
    Goal("an iteration, 32×32×3, 1 thread", 4, "torch.compile"),
    Goal("an iteration, 32×32×3, 2 threads", 4, "torch.compile"),
    Goal("2 threads, 32×32×3", 1.6, "1 thread"),
    Goal("CIFAR images to level 0.6, 2 threads", 350),
    Goal("CIFAR images to level 0.6, 2 threads, fast", 1500),
    Goal("CIFAR images to level 0.6, ν=16, 2 threads", 250),
    Goal("cells of 10,000 images to a collection", 1000),
    Goal("cells of 10,000 images to all tables", 500),
)

Note = Callable[..., None]


@pytest.fixture
def note(benchmark: Any) -> Note:
    """Says which group a benchmark is compared in, whose work it measures, and how many units of it one call does."""

    def noted(group: str, whose: str, units: int) -> None:
        benchmark.group = group
        benchmark.extra_info.update(whose=whose, units=units)

    return noted


@pytest.fixture(autouse=True)
def _begin_on_one_thread() -> Iterator[None]:
    """Each benchmark begins on one thread and leaves the number as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def simple(request: pytest.FixtureRequest) -> ModuleType:
    """The yardstick; as plain Python where nothing is timed, since compiling would take longer than all the rest."""
    spec = importlib.util.spec_from_file_location("simple", Path(__file__).with_name("simple.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not request.config.getoption("--benchmark-enable"):
        for name in ("step", "root", "join", "joined", "project", "follow"):
            setattr(module, name, getattr(module, name).py_func)
    return module


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """After timed benchmarks: each group by time a unit, and the goals."""
    groups = _best(getattr(config, "_benchmarksession", None))
    if not groups:
        return
    terminalreporter.section("ratios (fastest rounds)")
    for group, seconds in groups.items():
        terminalreporter.write_line(group)
        for whose, each in sorted(seconds.items(), key=lambda item: item[1]):
            ratio = f"{each / seconds[OURS]:10.2f} × ours" if OURS in seconds else ""
            terminalreporter.write_line(f"    {whose:24}{1e6 * each:14,.3f} µs{ratio}{1 / each:14,.0f} /s")
    for goal in GOALS:
        reached = _reached(goal, groups.get(goal.group, {}))
        if reached is not None:
            aim = f"{goal.least:g} times as fast as {goal.than}" if goal.than else f"{goal.least:g} a second"
            verdict = "reached" if reached >= goal.least else "MISSED"
            terminalreporter.write_line(f"{verdict}: {goal.group}: {reached:,.1f}, at least {aim}")


def _best(session: Any) -> dict[str, dict[str, float]]:
    """By group and whose work it is, the fewest seconds a unit."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for each in getattr(session, "benchmarks", None) or []:
        if "whose" in each.extra_info and each.stats is not None and not each.has_error:
            seconds = each.stats.min / each.extra_info["units"]
            members = found[each.group]
            whose = each.extra_info["whose"]
            members[whose] = min(seconds, members.get(whose, seconds))
    return found


def _reached(goal: Goal, seconds: dict[str, float]) -> float | None:
    if OURS not in seconds or (goal.than is not None and goal.than not in seconds):
        return None
    return 1 / seconds[OURS] if goal.than is None else seconds[goal.than] / seconds[OURS]
