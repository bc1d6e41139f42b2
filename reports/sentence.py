"""A caption's sentences: whole in the files and on the page, in short on a terminal."""

from __future__ import annotations

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
