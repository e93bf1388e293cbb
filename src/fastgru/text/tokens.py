"""From a text to its tokens, by named rules: a model file is hostile, so it may name a rule but not bring one."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence

_WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")
_ASCII_WORD = re.compile(r"[^\t-\r ]+")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


#: What is done with a text before it is split. `lower`: all of Unicode; `ascii_lower`: A to Z alone, as TensorFlow
#: does; `strip_punctuation`: the 32 marks of ASCII go.
STANDARDIZERS: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "ascii_lower": lambda text: text.encode().lower().decode(),
    "strip_punctuation": lambda text: text.translate(_NO_PUNCTUATION),
}

#: How a text becomes tokens. `words`: runs of letters and digits, apostrophes inside them kept (``don't``), and every
#: other visible character by itself; `characters`: one code point each; `whitespace`: what stands between white space;
#: `ascii_whitespace`: the same with the six characters that TensorFlow knows.
SPLITTERS: dict[str, Callable[[str], list[str]]] = {
    "words": _words,
    "characters": list,
    "whitespace": str.split,
    "ascii_whitespace": _ASCII_WORD.findall,
}


def ngrams(tokens: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Runs of neighbouring tokens, joined by a space: all of the first width, then all of the next.

    >>> ngrams(["a", "b", "c"], (1, 2))
    ['a', 'b', 'c', 'a b', 'b c']
    """
    return [" ".join(tokens[first : first + width]) for width in widths for first in range(len(tokens) - width + 1)]
