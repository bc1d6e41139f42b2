"""Numbers and times as tables show them."""

from __future__ import annotations

import math


def digits(number: float, count: int = 3) -> str:
    """A positive number to so many significant digits, thousands apart; 0 for any other.

    >>> digits(0.030412), digits(4.871), digits(1653210.0)
    ('0.0304', '4.87', '1,650,000')
    """
    if number <= 0:
        return "0"
    rounded = float(f"{number:.{count}g}")
    return f"{rounded:,.{max(0, count - 1 - math.floor(math.log10(rounded)))}f}"


def short_time(seconds: float) -> str:
    """A short time in the unit that suits it.

    >>> short_time(2.41e-06), short_time(0.0169), short_time(109.6)
    ('2.41 µs', '16.9 ms', '110 s')
    """
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            return f"{digits(seconds * factor)} {unit}"
    return f"{digits(seconds)} s"
