"""Vocabulary: what token ids mean, how a prompt becomes ids and how tokens become text again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from ..text import SPLITTERS, STANDARDIZERS, Encoder

#: what lookups, tokenizers and papers call the token for everything that has none
UNKNOWN = ("[UNK]", "<unk>", "<UNK>", "[unk]", "<oov>", "<OOV>", "[OOV]")
#: where a text has no space before a mark or behind it
_CLOSES, _OPENS = frozenset(".,;:!?)]}%…’”»"), frozenset("([{“‘«")

Splitter = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id.

    Parameters
    ----------
    tokens : tuple of (str or None)
        ``tokens[i]`` has the id i; None where no token has it.
    splitter : str or function, optional
        How a prompt becomes tokens: a name of `fastgru.text.SPLITTERS`, or a function from a text to its tokens.
        Default: ``"characters"`` where all tokens are single ones, but for those in brackets, such as ``[UNK]``; else
        ``"whitespace"``.
    join : str, optional
        What stands between tokens in a text. Default: nothing between characters; between others a space where the
        marks and white space around it leave one.
    standardize : tuple of str
        What is done with a prompt first: names of `fastgru.text.STANDARDIZERS`.
    unknown : int, optional
        The id of what is not in the vocabulary. Default: that of a token of `UNKNOWN`, if there is one.

    Raises
    ------
    BadInput
        Not tokens, one that stands twice, or an unknown splitter.

    Examples
    --------
    >>> words = Vocabulary(("[UNK]", "to", "be", "or", "not", ","))
    >>> words.encode("to be or perhaps not")
    [1, 2, 3, 0, 4]
    >>> words.decode([1, 2, 5, 3, 4, 1, 2])
    'to be, or not to be'
    """

    tokens: tuple[str | None, ...]
    splitter: str | Splitter | None = None
    join: str | None = None
    standardize: tuple[str, ...] = ()
    unknown: int | None = None
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids: dict[str, int] = {}
        for place, token in enumerate(self.tokens):
            if token is not None and not isinstance(token, str):
                raise BadInput(f"a vocabulary should hold strings, holds {token!r}")
            if token and ids.setdefault(token, place) != place:
                raise BadInput(f"the token {token!r} stands twice in the vocabulary, as {ids[token]} and {place}")
        if not ids:
            raise BadInput("the vocabulary holds no tokens")
        object.__setattr__(self, "_ids", ids)
        if self.unknown is None:
            object.__setattr__(self, "unknown", next((ids[name] for name in UNKNOWN if name in ids), None))
        if self.splitter is None:
            object.__setattr__(self, "splitter", "characters" if self._has_characters else "whitespace")
        if not callable(self.splitter) and self.splitter not in SPLITTERS:
            raise BadInput(f"splitter should be a function or one of {', '.join(SPLITTERS)}, got {self.splitter!r}")
        if self.join is not None and not isinstance(self.join, str):
            raise BadInput(f"join should be a string, got {self.join!r}")

    @property
    def _has_characters(self) -> bool:
        plain = [
            token for token in self._ids if (token[0], token[-1]) not in (("<", ">"), ("[", "]")) or len(token) < 3
        ]
        return all(len(token) == 1 for token in plain)

    @property
    def joins_nothing(self) -> bool:
        """Whether what a token adds to a text does not depend on the text."""
        return self.join == "" or (self.join is None and self.splitter == "characters")

    def find(self, token: str) -> int | None:
        """The id of a token; None where it is not in the vocabulary. Of several without text the first."""
        if not token:  # padding, which no prompt holds
            return next((place for place, known in enumerate(self.tokens) if known == ""), None)
        return self._ids.get(token)

    def encode(self, text: str) -> list[int]:
        """The ids of a text's tokens.

        Raises
        ------
        BadInput
            Names a token that the vocabulary lacks, where it has none for such.
        """
        for name in self.standardize:
            text = STANDARDIZERS[name](text)
        split = self.splitter if callable(self.splitter) else SPLITTERS[str(self.splitter)]
        ids = []
        for place, token in enumerate(split(text)):
            found = self._ids.get(token, self.unknown)
            if found is None:
                kind = "character" if self.splitter == "characters" else "token"
                lacks = "is not in the vocabulary, which has no token for unknown ones"
                raise BadInput(f"the prompt's {kind} {place}, {token!r}, {lacks}")
            ids.append(found)
        return ids

    def piece(self, token: int, text: str) -> str:
        """What a token adds to a text, of which only the end counts."""
        added = self.tokens[token] if token < len(self.tokens) else None
        if not added:
            return ""
        if self.joins_nothing or not text:
            return added
        if self.join is not None:
            return self.join + added
        marks = len(added) == 1 and added in _CLOSES
        return added if marks or added[0].isspace() or text[-1].isspace() or text[-1] in _OPENS else f" {added}"

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        text = ""
        for token in ids:
            text += self.piece(token, text[-1:])
        return text


def vocabulary_of(given: Any, encoder: Encoder | None, count: int, splitter: Any, join: Any) -> Vocabulary | None:
    """The vocabulary of a network of `count` tokens.

    Parameters
    ----------
    given : Vocabulary, list, dict, path or None
        None: that of the network's own front end.
    encoder : Encoder or None
        The front end of its input.
    splitter, join
        As `Vocabulary`.

    Returns
    -------
    Vocabulary or None
        None where there is none.

    Raises
    ------
    BadInput
        Not a vocabulary, or not of so many tokens.
    """
    made = _own(encoder, splitter, join) if given is None else _made(given, count, splitter, join)
    if made is None:
        if splitter is not None or join is not None:
            raise BadInput("splitter= and join= go with a vocabulary, which the network has not; give one")
        return None
    if len(made.tokens) != count:
        lookups = " (lookups put '[UNK]' and padding first; these belong to it)" if len(made.tokens) < count else ""
        raise BadInput(f"the vocabulary has {len(made.tokens)} tokens, but the network chooses among {count}{lookups}")
    return made


def _own(encoder: Encoder | None, splitter: Any, join: Any) -> Vocabulary | None:
    if encoder is None or encoder.tokens is None or not encoder.takes_strings or encoder.ngrams:
        return None
    return Vocabulary(
        tuple(map(str, encoder.tokens)),
        splitter=encoder.split if splitter is None else splitter,
        join=join,
        standardize=encoder.standardize,
        unknown=encoder.unknown,
    )


def _made(given: Any, count: int, splitter: Any, join: Any) -> Vocabulary:
    if isinstance(given, Vocabulary):
        if splitter is not None or join is not None:
            raise BadInput("splitter= and join= belong to the Vocabulary that is given")
        return given
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        try:
            return Vocabulary(_tokens_of(_read(path), count), splitter=splitter, join=join)
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None
    return Vocabulary(_tokens_of(given, count), splitter=splitter, join=join)


def _read(path: Path) -> Any:
    """What a file of tokens holds: JSON, or a token a line."""
    kind = path.suffix.lower()
    if kind not in (".json", ".txt"):
        raise BadInput("a vocabulary should be a .json file (a list or an object) or a .txt file (a token a line)")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if kind == ".json":
            return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not {kind[1:]} in UTF-8: {error}") from None
    lines = text.removesuffix("\n").split("\n")
    ends = lines if text.endswith("\n") else lines[:-1]
    if ends and all(line.endswith("\r") for line in ends):  # a file of Windows; a lone "\r" is a token
        lines = [line.removesuffix("\r") for line in lines]
    return lines


def _tokens_of(given: Any, count: int) -> tuple[str | None, ...]:
    """Tokens by id, of a list of them, or of a dict from token to id or the other way round; of a dict some of `count`
    ids may have none."""
    if isinstance(given, (list, tuple, np.ndarray)):
        return tuple(token.item() if isinstance(token, np.generic) else token for token in given)
    if not isinstance(given, Mapping):
        raise BadInput(f"a vocabulary should be a list of tokens, a dict of ids by token or a path, got {given!r:.80}")
    pairs = [(key, value) if isinstance(value, str) else (value, key) for key, value in given.items()]
    tokens: dict[Any, Any] = {}
    for place, token in pairs:
        if isinstance(place, str) and place.isdecimal() and len(place) < 10:  # JSON has no other keys
            place = int(place)
        if not isinstance(place, (int, np.integer)) or isinstance(place, bool) or not 0 <= place < 2**31:
            raise BadInput(f"a vocabulary should hold a token and its id, holds {token!r} and {place!r}")
        if tokens.setdefault(int(place), token) is not token:
            raise BadInput(f"the id {place} stands for two tokens, {tokens[place]!r} and {token!r}")
    if max(tokens, default=0) >= count:
        raise BadInput(f"the network chooses among {count} tokens, but the vocabulary has the id {max(tokens)}")
    return tuple(tokens.get(place) for place in range(count))
