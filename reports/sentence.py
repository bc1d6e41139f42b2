"""A caption's sentences, whole in the files and on the page, short on a terminal; and words that many sentences use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class Sentence(str):
    """A sentence that the terminal shows in short, or leaves to the files and the page.

    A plain string is shown whole everywhere: so is every warning, and whatever else changes how a number must be read.
    """

    short: str
    """What the terminal shows instead; "" for nothing."""

    def __new__(cls, text: str, *, short: str = "") -> Self:
        """The whole sentence, with its short form beside it."""
        sentence = super().__new__(cls, text)
        sentence.short = short
        return sentence


def counted(count: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "cell"), counted(1200, "cell")
    ('1 cell', '1,200 cells')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int) -> str:
    """The first `most` names; the others are counted.

    >>> listed(["blur", "jpeg", "vanilla"], 2)
    'blur, jpeg and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
