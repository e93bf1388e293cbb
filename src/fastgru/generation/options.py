"""What `generate` takes beside a network and a prompt, checked."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import engine
from ..errors import BadInput
from .vocabulary import Vocabulary

_SEEDS = 2**64


@dataclass(frozen=True)
class Options:
    """How tokens are chosen, and when it ends; `generate` says what each means.

    Attributes
    ----------
    banned : tuple of int
        Ids that are never chosen.
    stop_ids : frozenset of int
    stop_texts : tuple of str
    seed : (int, int)
        Key of the first row; the next rows' second number is one more each.
    """

    temperature: float
    top_k: int | None
    top_p: float | None
    repetition_penalty: float
    banned: tuple[int, ...]
    stop_ids: frozenset[int]
    stop_texts: tuple[str, ...]
    max_tokens: int | None
    seed: tuple[int, int]
    logprobs: bool
    pad: int | None

    @classmethod
    def checked(
        cls,
        vocabulary: Vocabulary | None,
        tokens: int,
        *,
        temperature: Any,
        top_k: Any,
        top_p: Any,
        repetition_penalty: Any,
        ban: Any,
        stop: Any,
        max_tokens: Any,
        seed: Any,
        logprobs: Any,
        pad: Any,
        masked: bool,
    ) -> Options:
        """From what a caller gives, for a network of so many tokens, whose token 0 may be `masked`.

        Raises
        ------
        BadInput
            Says which option, what it takes and what came.
        """
        stops = [_stop(item, vocabulary, tokens) for item in _several(stop, "stop")]
        return cls(
            temperature=_number(temperature, "temperature", 0, math.inf, "a number from 0 (the likeliest token)"),
            top_k=None if top_k is None else engine.whole_number(top_k, "top_k"),
            top_p=None if top_p is None else _number(top_p, "top_p", 0, 1, "a number above 0, up to 1", above=True),
            repetition_penalty=_number(
                repetition_penalty, "repetition_penalty", 0, math.inf, "a number above 0", above=True
            ),
            banned=tuple(sorted({*([0] if masked else []), *_ids(ban, "ban", vocabulary, tokens)})),
            stop_ids=frozenset(item for item in stops if isinstance(item, int)),
            stop_texts=tuple(item for item in stops if isinstance(item, str)),
            max_tokens=None if max_tokens is None else engine.whole_number(max_tokens, "max_tokens"),
            seed=_seed(seed),
            logprobs=_flag(logprobs, "logprobs"),
            pad=None if pad is None else token_id(pad, "pad", vocabulary, tokens),
        )

    def sampler(self) -> dict[str, Any]:
        """What a `Sampler` is told of it."""
        return {
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "repetition_penalty": self.repetition_penalty,
            "log_probability": self.logprobs,
            "banned": self.banned,
            "seed": self.seed[0],
            "row": self.seed[1],
        }


def _number(value: Any, name: str, low: float, high: float, expected: str, above: bool = False) -> float:
    """A finite number that float32 can hold, from `low`, or above it, to `high`."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or not value < 3e38 or (above and np.float32(value) <= low):
        raise BadInput(f"{name} should be {expected}, got {value!r}")
    return float(value)


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise BadInput(f"{name} should be True or False, got {value!r}")
    return bool(value)


def _seed(seed: Any) -> tuple[int, int]:
    if seed is None:
        return int.from_bytes(os.urandom(8), "little") >> 1, 0
    key = seed if isinstance(seed, tuple) else (seed, 0)
    whole = [isinstance(part, (int, np.integer)) and not isinstance(part, bool) for part in key]
    if len(key) != 2 or not all(whole) or not all(0 <= part < _SEEDS for part in key):
        raise BadInput(f"seed should be a whole number from 0 to 2**64 - 1, or two of them (seed, row); got {seed!r}")
    return int(key[0]), int(key[1])


def _several(given: Any, name: str) -> list[Any]:
    """None, one item or several, as a list."""
    if given is None:
        return []
    if isinstance(given, (str, int, np.integer)):
        return [given]
    if not isinstance(given, Iterable) or isinstance(given, (bytes, dict)):
        raise BadInput(f"{name} should be tokens, token ids or several of them, got {given!r}")
    return list(given)


def _stop(item: Any, vocabulary: Vocabulary | None, tokens: int) -> int | str:
    """A text, or the id of a token, for which its own text stands, too."""
    if not isinstance(item, str):
        return token_id(item, "stop", vocabulary, tokens)
    if not item:
        raise BadInput("stop should hold no empty text")
    if vocabulary is None:
        raise BadInput(f"stop={item!r}: the network has no vocabulary; give token ids, or a vocabulary")
    found = vocabulary.find(item)
    return item if found is None else found


def _ids(given: Any, name: str, vocabulary: Vocabulary | None, tokens: int) -> list[int]:
    return [token_id(item, name, vocabulary, tokens) for item in _several(given, name)]


def token_id(item: Any, name: str, vocabulary: Vocabulary | None, tokens: int) -> int:
    """The id of a token, given by id or as text; BadInput names the option that it is of."""
    if isinstance(item, str):
        if vocabulary is None:
            raise BadInput(f"{name}={item!r}: the network has no vocabulary; give token ids, or a vocabulary")
        found = vocabulary.find(item)
        if found is None:
            raise BadInput(f"{name}={item!r}: the vocabulary has no such token")
        return found
    if not isinstance(item, (int, np.integer)) or isinstance(item, bool) or not 0 <= item < tokens:
        raise BadInput(f"{name} should hold token ids from 0 to {tokens - 1}, got {item!r}")
    return int(item)
