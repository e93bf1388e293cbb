"""Encoder: from texts, tokens or numbers to the ids or vectors that one input of a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ..errors import BadInput, BadModelFile
from .checks import RULES, checked_object, shown
from .tokens import SPLITTERS, STANDARDIZERS, ngrams

_DROPPED = -1


@dataclass(frozen=True)
class Encoder:
    """Turns what one input is given into token ids or vectors, by a fixed vocabulary.

    Parameters
    ----------
    tokens : tuple of str, tuple of int, or None
        The vocabulary: ``tokens[i]`` has the id i. None: numbers are ids already, below `size`.
    standardize : tuple of str
        What is done with a text before it is split, in order; see `STANDARDIZERS`.
    split : str, optional
        How a text becomes tokens, see `SPLITTERS`. None: the input is tokens or numbers, not texts.
    ngrams : tuple of int
        Widths of runs of neighbouring tokens that are looked up instead of single tokens.
    unknown : int, optional
        The id of every token outside the vocabulary. None: there is none, such a token is BadInput.
    buckets : int
        Ids from `unknown` on that share the unknown numbers: ``unknown + number % buckets``.
    dropped : str or int, optional
        A token that vectors leave out.
    max_length : int, optional
        Longer rows lose their end; None keeps all.
    padding : str, optional
        ``"longest"`` or ``"max_length"``: how rows become as long as each other. None: they are not; only for
        vectors of whole rows, where padding would count as the token 0.
    masks_padding : bool
        Whether the network is told the length of each row.
    shape : tuple of (int or None)
        Of what one row is given: ``()`` one text, token or number; ``(n,)`` or, for any number, ``(None,)`` of them.
    output : str
        ``"ids"``; ``"one_hot"``: a vector for each token; ``"multi_hot"`` or ``"count"``: one for each row.
    size : int, optional
        Of vectors.
    weights : tuple of float, optional
        What counts are multiplied with.

    Raises
    ------
    BadModelFile
        If a value has the wrong type or they don't fit each other.

    Examples
    --------
    >>> encoder = Encoder(("", "?", "fine", "don't"), standardize=("lower",), split="words", unknown=1)
    >>> encoder.encode(["Fine, don't!", "fine"])
    (array([[2, 1, 3, 1],
           [2, 0, 0, 0]], dtype=int32), None)
    """

    tokens: tuple[str, ...] | tuple[int, ...] | None = None
    standardize: tuple[str, ...] = ()
    split: str | None = None
    ngrams: tuple[int, ...] = ()
    unknown: int | None = None
    buckets: int = 1
    dropped: str | int | None = None
    max_length: int | None = None
    padding: str | None = "longest"
    masks_padding: bool = False
    shape: tuple[int | None, ...] = ()
    output: str = "ids"
    size: int | None = None
    weights: tuple[float, ...] | None = None
    _ids: dict[str | int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for key, (fits, expected) in RULES.items():
            value = getattr(self, key)
            if not fits(value):
                raise BadModelFile(f"text front end: {key!r} should be {expected}, is {shown(value)}")
        for fault in self._faults():
            raise BadModelFile(f"text front end: {fault}")
        object.__setattr__(self, "_ids", self._lookup())

    def _faults(self) -> list[str]:
        """What does not fit together."""
        count = len(self.tokens) if self.tokens is not None else self.size or 0
        per_row = self.output in ("multi_hot", "count")
        reads_texts = self.split is not None or bool(self.standardize or self.ngrams)
        pairs = (
            (self.unknown is not None and self.unknown + self.buckets > count,
             f"'unknown' is {self.unknown}, but there are {count} tokens"),
            (self.buckets > 1 and (self.unknown is None or self.takes_strings), "'buckets' are for unknown numbers"),
            (reads_texts and not self.takes_strings, "what splits and changes texts needs a vocabulary of strings"),
            (self.split is not None and bool(self.shape), "'shape' of texts should be []"),
            (self.tokens is None and self.output == "ids", "ids without a vocabulary need no front end"),
            (self.tokens is None and not (self.unknown is self.dropped is None), "without a vocabulary all is known"),
            ((self.output == "ids") is not (self.size is None), "'size' is for vectors, which have one"),
            (self.size is not None and self.size < count, f"'size' is {self.size}, but there are {count} tokens"),
            (self.dropped is not None and self.output == "ids", "'dropped' is for vectors"),
            (isinstance(self.dropped, str) is not self.takes_strings and self.dropped is not None,
             f"'dropped' should be like the vocabulary, is {shown(self.dropped)}"),
            (self.padding is None and not per_row, "'padding' may only be null for vectors of whole rows"),
            (self.padding == "max_length" and self.max_length is None, "'max_length' is missing"),
            (self.masks_padding and (per_row or not self._has_steps), "'masks_padding' is for sequences"),
            (self.output == "one_hot" and not self._has_steps, "one token a row gives 'multi_hot', not 'one_hot'"),
            (self.weights is not None and (self.output != "count" or len(self.weights) != self.size),
             f"'weights' should be {self.size} numbers for counts"),
        )  # fmt: skip
        return [fault for is_one, fault in pairs if is_one]

    def _lookup(self) -> dict[str | int, int]:
        """Id of each token; the places of unknown ones have none."""
        vacant = range(self.unknown, self.unknown + self.buckets) if self.unknown is not None else range(0)
        ids: dict[str | int, int] = {}
        tokens: tuple[str | int, ...] = self.tokens or ()
        for place, token in enumerate(tokens):
            if place not in vacant and ids.setdefault(token, place) != place:
                raise BadModelFile(f"text front end: the token {shown(token)} stands twice in the vocabulary")
        if self.dropped is not None and ids.setdefault(self.dropped, _DROPPED) != _DROPPED:
            raise BadModelFile(f"text front end: 'dropped', {shown(self.dropped)}, stands in the vocabulary")
        return ids

    @property
    def takes_strings(self) -> bool:
        return self.tokens is not None and isinstance(self.tokens[0], str)

    @property
    def takes(self) -> str:
        """``"texts"``, ``"strings"`` or ``"whole numbers"``."""
        if self.split is not None:
            return "texts"
        return "strings" if self.takes_strings else "whole numbers"

    @property
    def is_sequence(self) -> bool:
        """Whether it gives (batch, time, …)."""
        return self.output == "one_hot" or (self.output == "ids" and self._has_steps)

    @property
    def _has_steps(self) -> bool:
        return self.split is not None or bool(self.shape)

    @classmethod
    def from_json(cls, values: Any) -> Encoder:
        """Rebuild one from `to_json`'s dict; a foreign key or a wrong type is BadModelFile."""
        values = checked_object(values, set(RULES), set())
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """What is not as by default, as plain values that JSON can hold."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init and getattr(self, f.name) != f.default}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def describe(self) -> str:
        """What the input takes, in a few words.

        >>> Encoder(("", "?", "fine"), standardize=("lower",), split="words", unknown=1).describe()
        'takes texts: lower, words, 3 tokens'
        """
        rules = self.standardize if self.split is None else (*self.standardize, self.split)
        widths = (f"runs of {', '.join(map(str, self.ngrams))}",) if self.ngrams else ()
        count = (f"{len(self.tokens):,} tokens",) if self.tokens is not None else ()
        output = (f"{self.output} of {self.size:,}",) if self.size is not None else ()
        return f"takes {self.takes}: {', '.join((*rules, *widths, *count, *output))}"

    def encode(self, values: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Encode a batch.

        Parameters
        ----------
        values : list or array
            Texts, strings or whole numbers, see `describe`: one a row, or rows of them.

        Returns
        -------
        array
            int32 ids (batch, time) or (batch,), or float32 vectors (batch, time, size) or (batch, size).
        lengths : (batch,) int32, or None
            Of rows that the network should mask at their end.

        Raises
        ------
        BadInput
            Not a batch of what it takes, or a token that the vocabulary lacks where nothing is unknown.
        """
        rows = self._rows(self._array(values))
        if self.padding is None:
            return self._row_vectors(rows), None
        lengths = np.array([len(row) for row in rows], np.int32) if self.masks_padding else None
        ids = self._padded(rows)
        if lengths is not None and (lengths == ids.shape[1]).all():
            lengths = None
        if self.output == "ids":
            return (ids if self.is_sequence else ids[:, 0]), lengths
        if self.output == "one_hot":
            return self._step_vectors(ids), lengths
        return self._row_vectors(list(ids)), None

    # ---- rows of ids

    def _array(self, values: Any) -> np.ndarray:
        """The batch as (rows,) texts or (rows, n) tokens or numbers."""
        wanted = self.takes
        if isinstance(values, (str, bytes)):
            raise BadInput(f"expected a batch of {wanted}, got one {type(values).__name__}: put it into a list")
        try:
            array = np.asarray(values)
        except ValueError:
            raise BadInput(f"expected rows of {wanted} of one length, got rows of several lengths") from None
        if array.dtype.kind not in ("OSU" if self.takes_strings else "iuf") and array.size:
            raise BadInput(f"expected {wanted}, got an array of {array.dtype}")
        if array.ndim == 2 and array.shape[1] == 1 and not self.shape:
            array = array[:, 0]
        if array.ndim == 1 and self.shape == (1,):
            array = array[:, None]
        if array.ndim != 1 + len(self.shape) or (self.shape not in ((), (None,)) and array.shape[1:] != self.shape):
            shape = ", ".join(("batch", *("any" if size is None else str(size) for size in self.shape)))
            raise BadInput(f"expected {wanted} in an array of shape ({shape}), got shape {array.shape}")
        return array if self.split is not None or self.shape else array[:, None]

    def _rows(self, array: np.ndarray) -> list[np.ndarray]:
        if self.split is not None:
            split = SPLITTERS[self.split]
            return [self._ids_of(split(self._standard(text))) for text in array.tolist()]
        if self.takes_strings:
            return [self._ids_of([self._standard(token) for token in row]) for row in array.tolist()]
        return list(self._numbers(array[:, : self.max_length]))

    def _standard(self, text: Any) -> str:
        text = _plain(text)
        for name in self.standardize:
            text = STANDARDIZERS[name](text)
        return text

    def _ids_of(self, tokens: Sequence[str]) -> np.ndarray:
        if self.ngrams:
            tokens = ngrams(tokens, self.ngrams)
        known, unknown = self._ids, self.unknown
        ids = [known.get(token, unknown) for token in tokens[: self.max_length]]
        if unknown is None and None in ids:
            raise self._not_known(tokens[ids.index(None)])
        return np.array(ids, np.int32)

    @staticmethod
    def _not_known(token: str | int) -> BadInput:
        return BadInput(f"{shown(token)} is not in the vocabulary, which has no id for unknown ones")

    def _numbers(self, array: np.ndarray) -> np.ndarray:
        """Ids (rows, n) of numbers."""
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int64)
        if array.dtype.kind != "i" and not (whole == array).all():
            raise BadInput(f"expected whole numbers, got {shown(array[whole != array].item(0))}")
        if self.tokens is None:
            if whole.size and not 0 <= whole.min() <= whole.max() < (self.size or 0):
                raise BadInput(f"expected numbers from 0 to {(self.size or 0) - 1}, got {whole.min()} to {whole.max()}")
            return whole.astype(np.int32)
        seen, places = np.unique(whole, return_inverse=True)
        ids = [self._number_id(number) for number in seen.tolist()]
        return np.array(ids, np.int32)[places].reshape(whole.shape)

    def _number_id(self, number: int) -> int:
        found = self._ids.get(number)
        if found is not None:
            return found
        if self.unknown is None:
            raise self._not_known(number)
        return self.unknown + number % self.buckets

    # ---- what the core takes

    def _padded(self, rows: list[np.ndarray]) -> np.ndarray:
        longest = max((len(row) for row in rows), default=0)
        steps = self.max_length if self.padding == "max_length" and self.max_length is not None else longest
        if self.masks_padding:
            steps = max(1, steps)  # a batch of empty rows is a batch still, of masked steps
        ids = np.zeros((len(rows), steps), np.int32)
        for out, row in zip(ids, rows, strict=True):
            out[: len(row)] = row
        return ids

    def _step_vectors(self, ids: np.ndarray) -> np.ndarray:
        vectors = np.zeros((*ids.shape, self.size or 0), np.float32)
        rows, steps = np.nonzero(ids != _DROPPED)
        vectors[rows, steps, ids[rows, steps]] = 1
        return vectors

    def _row_vectors(self, rows: list[np.ndarray]) -> np.ndarray:
        vectors = np.zeros((len(rows), self.size or 0), np.float32)
        for vector, row in zip(vectors, rows, strict=True):
            np.add.at(vector, row[row != _DROPPED], 1)
        if self.output == "multi_hot":
            return np.minimum(vectors, 1)
        return vectors if self.weights is None else vectors * np.array(self.weights, np.float32)


def is_strings(array: Any) -> bool:
    """Whether a value holds strings."""
    if isinstance(array, np.ndarray) and array.dtype.kind in "biuf":
        return False
    if isinstance(array, (str, bytes)):
        return True
    try:
        array = np.asarray(array)
    except ValueError:
        return False
    return array.dtype.kind in "SU" or (array.dtype.kind == "O" and isinstance(next(array.flat, None), (str, bytes)))


def _plain(text: Any) -> str:
    """A text or token as a str that UTF-8 can hold; bytes are UTF-8."""
    if not isinstance(text, (str, bytes)):
        raise BadInput(f"expected a text (str), got {type(text).__name__}")
    try:
        return text.decode() if isinstance(text, bytes) else text.encode().decode()
    except UnicodeError:
        raise BadInput(f"expected text in Unicode (bytes: in UTF-8), got {shown(text)}") from None
