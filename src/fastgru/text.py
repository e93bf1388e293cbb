"""The text front end of a network, from a string to token ids: stored in `Graph.text` as plain JSON.

How a text is split is named, out of `SPLITTERS`: a model file is hostile, so it may name a rule but not bring one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from .errors import BadInput, BadModelFile

_WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


#: How a text becomes tokens. `words`: runs of letters and digits, apostrophes inside them kept (``don't``), and every
#: other visible character by itself; `characters`: one code point each; `whitespace`: what stands between white space.
SPLITTERS: dict[str, Callable[[str], list[str]]] = {"words": _words, "characters": list, "whitespace": str.split}


@dataclass(frozen=True)
class TextEncoder:
    """Turns texts into token ids by a fixed vocabulary.

    Parameters
    ----------
    tokens : tuple of str
        The vocabulary: ``tokens[i]`` has the id i. Batches are padded with id 0.
    split : str
        ``"words"``, ``"characters"`` or ``"whitespace"``; see `SPLITTERS`.
    lowercase : bool
        Whether texts are lowered before they are split.
    unknown : int
        The id of every token outside the vocabulary.
    max_length : int, optional
        Longer texts lose their end; None keeps all.
    labels : tuple of str
        What the network's answers mean: one name a class, or two (low, high) for a single probability; may be empty.
    about : str
        Where the network comes from and what it was measured to do, in a sentence or two.

    Raises
    ------
    BadModelFile
        If a value has the wrong type or they don't fit each other.

    Examples
    --------
    >>> encoder = TextEncoder(("", "?", "fine", "don't"), split="words", lowercase=True, unknown=1)
    >>> encoder.encode("Fine, don't!")
    array([2, 1, 3, 1], dtype=int32)
    """

    tokens: tuple[str, ...]
    split: str
    lowercase: bool
    unknown: int
    max_length: int | None = None
    labels: tuple[str, ...] = ()
    about: str = ""
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for key, (fits, expected) in _RULES.items():
            value = getattr(self, key)
            if not fits(value):
                raise BadModelFile(f"text front end: {key!r} should be {expected}, is {_shown(value)}")
        if not 0 <= self.unknown < len(self.tokens):
            raise BadModelFile(f"text front end: 'unknown' is {self.unknown}, but there are {len(self.tokens)} tokens")
        ids = {token: i for i, token in enumerate(self.tokens)}
        if len(ids) < len(self.tokens):
            twice = next(token for i, token in enumerate(self.tokens) if ids[token] != i)
            raise BadModelFile(f"text front end: the token {_shown(twice)} stands twice in the vocabulary")
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TextEncoder:
        """Rebuild one from `to_json`'s dict; a foreign or missing key or a wrong type is BadModelFile."""
        if not isinstance(values, Mapping):
            raise BadModelFile(f"text front end: expected an object, got {_shown(values)}")
        foreign, missing = sorted(map(str, set(values) - set(_RULES))), sorted(set(_RULES) - set(values))
        for fault, keys in (("has no key", foreign), ("lacks the key", missing)):
            if keys:
                raise BadModelFile(f"text front end {fault} {', '.join(map(_shown, keys))}")
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values that JSON can hold."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def encode(self, text: str) -> np.ndarray:
        """Token ids of one text: (time,) int32, of length 0 where the text holds no token."""
        if not isinstance(text, str):
            raise BadInput(f"expected a text (str), got {type(text).__name__}")
        tokens = SPLITTERS[self.split](text.lower() if self.lowercase else text)[: self.max_length]
        return np.array([self._ids.get(token, self.unknown) for token in tokens], dtype=np.int32)

    def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of several texts, padded with 0, and the number of tokens of each.

        Returns
        -------
        ids : (batch, time) int32
            At least one step long, so that a batch of empty texts is a batch still.
        lengths : (batch,) int32

        Examples
        --------
        >>> encoder = TextEncoder(("", "?", "fine"), split="words", lowercase=True, unknown=1)
        >>> encoder.encode_batch(["fine", "", "so fine"])
        (array([[2, 0],
               [0, 0],
               [1, 2]], dtype=int32), array([1, 0, 2], dtype=int32))
        """
        if isinstance(texts, str):
            raise BadInput("expected a list of texts, got one str: put it into a list")
        rows = [self.encode(text) for text in texts]
        lengths = np.array([len(row) for row in rows], dtype=np.int32)
        ids = np.zeros((len(rows), max(1, lengths.max(initial=0))), dtype=np.int32)
        for out, row in zip(ids, rows, strict=True):
            out[: len(row)] = row
        return ids, lengths


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_strings(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _shown(value: Any) -> str:
    """A value of a hostile file, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


#: every key of the stored form: what its value must be, in code and in words
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "tokens": (lambda value: _is_strings(value) and bool(value), "a list of one or more strings"),
    "split": (lambda value: isinstance(value, str) and value in SPLITTERS, f"one of {', '.join(SPLITTERS)}"),
    "lowercase": (lambda value: isinstance(value, bool), "true or false"),
    "unknown": (_is_int, "a token id"),
    "max_length": (lambda value: value is None or (_is_int(value) and value > 0), "a positive number or null"),
    "labels": (_is_strings, "a list of strings"),
    "about": (lambda value: isinstance(value, str), "a string"),
}
