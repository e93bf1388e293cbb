"""Ending at a text, of which nothing may be seen, nor of what follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Token(NamedTuple):
    """A generated token.

    Attributes
    ----------
    id : int
    text : str or None
        What it adds to the text, white space between words included; None without a vocabulary.
    logprob : float or None
        The natural logarithm of the network's own probability for it, whatever temperature and the like made of that;
        None unless asked for.
    """

    id: int
    text: str | None
    logprob: float | None = None


class StopTexts:
    """Holds back tokens that may be the beginning of a text at which to stop.

    Examples
    --------
    >>> stops = StopTexts(["END"])
    >>> [stops.add(Token(0, text)) for text in ("a", "E", "N", "x", "E")][-2:]
    [([Token(id=0, text='E', logprob=None), Token(id=0, text='N', logprob=None), Token(id=0, text='x', logprob=None)], \
False), ([], False)]
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._held: list[Token] = []
        self._text = ""

    def add(self, token: Token) -> tuple[list[Token], bool]:
        """Tokens that are free now, and whether one of the texts stands behind them: then the last may be cut short."""
        self._held.append(token)
        self._text += token.text or ""
        found = [place for place in map(self._text.find, self._texts) if place >= 0]
        if found:
            return self._before(min(found)), True
        return self._release(len(self._text) - self._begun()), False

    def rest(self) -> list[Token]:
        """What is still held, where nothing follows."""
        return self._release(len(self._text))

    def _begun(self) -> int:
        """How much of the end may be the beginning of one of the texts."""
        most = min(len(self._text), max(map(len, self._texts)) - 1)
        return next((n for n in range(most, 0, -1) if any(t.startswith(self._text[-n:]) for t in self._texts)), 0)

    def _release(self, free: int) -> list[Token]:
        """Tokens that end within the first `free` characters."""
        count = end = 0
        for token in self._held:
            size = len(token.text or "")
            if end + size > free:
                break
            count, end = count + 1, end + size
        released, self._held, self._text = self._held[:count], self._held[count:], self._text[end:]
        return released

    def _before(self, place: int) -> list[Token]:
        """Tokens of the first `place` characters."""
        released = self._release(place)
        cut = place - sum(len(token.text or "") for token in released)
        if cut:
            first = self._held[0]
            released.append(first._replace(text=(first.text or "")[:cut]))
        return released
