"""How a folder's pictures are shared out over threads: in order, a few ahead, and no more after an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from defenses.virolbi.apps.pictures import AHEAD, _in_order


def test_results_come_in_order_from_as_many_workers_as_asked_for() -> None:
    working, most = set(), []

    def work(item: int) -> int:
        working.add(item)
        most.append(len(working))
        time.sleep(0.002 * (5 - item % 5))
        working.discard(item)
        return item * item

    assert list(_in_order(work, range(30), 3)) == [(item, item * item) for item in range(30)]
    assert max(most) == 3


def test_no_more_items_are_taken_up_than_a_few_ahead() -> None:
    """So a folder's list, and what waits for its turn, take no more memory for a million pictures than for ten."""
    taken = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = _in_order(lambda item: item, items(), 2)
    for expected in range(50):
        assert next(results) == (expected, expected)
        assert len(taken) <= expected + 1 + 2 * AHEAD
    results.close()
    assert len(taken) < 100


def test_after_an_error_nothing_more_is_begun() -> None:
    done, gate = [], threading.Event()

    def work(item: int) -> None:
        if item == 0:
            gate.wait(5)
            raise KeyboardInterrupt
        done.append(item)
        gate.set()
        time.sleep(0.2)

    with pytest.raises(KeyboardInterrupt):
        list(_in_order(work, range(1000), 2))
    assert len(done) <= 3
