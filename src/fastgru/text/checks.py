"""What the stored form of a front end may hold: a hostile file's JSON, held against rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import BadModelFile
from .tokens import SPLITTERS, STANDARDIZERS

#: what an Encoder gives: token ids; or 0 and 1 for each token, 0 and 1 for each row, or how often a row has each token
OUTPUTS = ("ids", "one_hot", "multi_hot", "count")
#: how rows of different lengths become an array: to the longest, or to `max_length`; with 0
PADDINGS = ("longest", "max_length")
MAX_LENGTH = 1 << 24
MAX_NGRAM = 100


def checked_object(values: Any, known: set[str], needed: set[str]) -> Mapping[str, Any]:
    """`values`, which should be an object of certain keys."""
    if not isinstance(values, Mapping):
        raise BadModelFile(f"text front end: expected an object, got {shown(values)}")
    foreign, missing = sorted(map(str, set(values) - known)), sorted(needed - set(values))
    for fault, keys in (("has no key", foreign), ("lacks the key", missing)):
        if keys:
            raise BadModelFile(f"text front end {fault} {', '.join(map(shown, keys))}")
    return values


def shown(value: Any) -> str:
    """A value of a hostile file, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_tuple_of(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, tuple) and all(fits(item) for item in value)


def is_str(value: Any) -> bool:
    return isinstance(value, str)


def _is_vocabulary(value: Any) -> bool:
    return value is None or (bool(value) and (is_tuple_of(value, is_str) or is_tuple_of(value, _is_long)))


def _is_long(value: Any) -> bool:
    return is_int(value) and -(2**63) <= value < 2**63


def _is_finite(value: Any) -> bool:
    return (isinstance(value, float) or _is_long(value)) and math.isfinite(value)


def _sized(limit: int, optional: bool = True) -> Callable[[Any], bool]:
    return lambda value: (optional and value is None) or (is_int(value) and 0 < value <= limit)


def _named(known: Sequence[str] | Mapping[str, Any], optional: bool = True) -> Callable[[Any], bool]:
    return lambda value: (optional and value is None) or (is_str(value) and value in known)


#: every key of the stored form: what its value must be, in code and in words
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "tokens": (_is_vocabulary, "a list of one or more strings, or of whole numbers"),
    "standardize": (
        lambda value: is_tuple_of(value, _named(STANDARDIZERS, False)),
        f"a list of {', '.join(STANDARDIZERS)}",
    ),
    "split": (_named(SPLITTERS), f"one of {', '.join(SPLITTERS)}"),
    "ngrams": (
        lambda value: is_tuple_of(value, _sized(MAX_NGRAM, False)) and len(value) <= MAX_NGRAM,
        "a list of small positive numbers",
    ),
    "unknown": (lambda value: value is None or (is_int(value) and value >= 0), "a token id"),
    "buckets": (_sized(2**31 - 1, False), "a positive number"),
    "dropped": (lambda value: value is None or is_str(value) or _is_long(value), "a token"),
    "max_length": (_sized(MAX_LENGTH), f"a positive number up to {MAX_LENGTH} or null"),
    "padding": (_named(PADDINGS), f"one of {', '.join(PADDINGS)}, or null"),
    "masks_padding": (lambda value: isinstance(value, bool), "true or false"),
    "shape": (
        lambda value: is_tuple_of(value, _sized(MAX_LENGTH)) and len(value) < 2,
        "[], [null] or a size in a list",
    ),
    "output": (_named(OUTPUTS, False), f"one of {', '.join(OUTPUTS)}"),
    "size": (_sized(2**31 - 1), "a positive number"),
    "weights": (lambda value: value is None or is_tuple_of(value, _is_finite), "a list of numbers"),
}
