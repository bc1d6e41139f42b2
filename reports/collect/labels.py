"""Labels, which are names with parameters such as "virolbi_fixed:nu=16": their parts and their order."""

from __future__ import annotations

import re
from collections.abc import Sequence


def base_name(label: str) -> str:
    """A label without its parameters, "virolbi_fixed" for "virolbi_fixed:nu=16"."""
    return label.partition(":")[0]


def parameters_text(label: str) -> str:
    """A label's parameters alone, "limit=200" for "adversarial:limit=200"; "" for none."""
    return label.partition(":")[2]


def position(known: Sequence[str], name: str) -> int:
    """Where a name stands among known ones; an unknown one comes behind them all."""
    return known.index(name) if name in known else len(known)


def natural(text: str) -> tuple[tuple[str, float], ...]:
    """A sort key under which numbers in a text count as numbers: nu=4 before nu=16."""
    return tuple((word, float(number or 0)) for word, number in re.findall(r"([^\d]*)(\d+(?:\.\d+)?)?", text))
