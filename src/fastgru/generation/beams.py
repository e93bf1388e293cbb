"""Beam search: the likeliest sequences that a network gives, kept a few at a time.

At each step every running hypothesis is continued by every token. Of these continuations and of the hypotheses that are
finished already the best `beams` remain, by score: a finished one keeps its score and its place in the competition, and
may be pushed out by others. The search ends when all that remain are finished, or after `max_tokens` tokens; then the
unfinished ones are given as they are.

This is what Keras users write with a list and ``sorted``: of equal scores the hypothesis that stood before comes first,
then the smaller token.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from .._openmp import core
from ..engine import whole_number
from ..errors import BadInput, FastGRUError
from ..graph import Array
from .decoders import Decoder


class Hypothesis(NamedTuple):
    """A sequence that a beam search found.

    Attributes
    ----------
    tokens : tuple of int
        Without the token that ends it.
    text : str or None
        None without a vocabulary.
    score : float
        The sum of its tokens' log-probabilities, the one that ends it included; divided by
        ``length ** length_penalty``, where that one counts too.
    finish : {"stop", "length"}
        Whether a token ended it or `max_tokens` did.
    """

    tokens: tuple[int, ...]
    text: str | None
    score: float
    finish: str


class _Branch(NamedTuple):
    """A hypothesis in the search: its last token, and what stands before that."""

    before: _Branch | None
    token: int
    total: float
    score: float
    is_finished: bool

    def tokens(self) -> tuple[int, ...]:
        tokens = []
        branch: _Branch | None = self
        while branch is not None and branch.token >= 0:
            tokens.append(branch.token)
            branch = branch.before
        return tuple(reversed(tokens[1:] if self.is_finished else tokens))


_ROOT = _Branch(None, -1, 0.0, 0.0, False)


def beam_search(
    step: Decoder,
    sources: int,
    *,
    beams: int,
    max_tokens: int,
    stop: Collection[int] = (),
    banned: Collection[int] = (),
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """The best hypotheses for each source, all searched side by side.

    Parameters
    ----------
    step : Decoder
        Its first call gives a row for each source.
    sources : int
    beams : int
        How many hypotheses are kept of each source.
    max_tokens : int
    stop : collection of int
        Tokens that end a hypothesis.
    banned : collection of int
        Tokens that no hypothesis has.
    length_penalty : float
        Scores are divided by ``length ** length_penalty``; 0 favours short hypotheses, 1 compares means.

    Returns
    -------
    list of list of Hypothesis
        At most `beams` for each source, best first; fewer where there are no more whose probability is not 0.

    Raises
    ------
    BadInput
    FastGRUError
        The network gives log-probabilities that are not numbers.

    Examples
    --------
    Three tokens of which 2 ends, with the same probabilities at every step:

    >>> class Coin:
    ...     def start(self):
    ...         return np.log(np.array([[0.2, 0.1, 0.7]], np.float32))
    ...     def step(self, tokens, parents):
    ...         return np.repeat(self.start(), len(tokens), axis=0)
    >>> [[best, second]] = beam_search(Coin(), 1, beams=2, max_tokens=4, stop={2})
    >>> [(one.tokens, round(float(np.exp(one.score)), 6)) for one in (best, second)]
    [((), 0.7), ((0,), 0.14)]
    """
    beams, max_tokens = whole_number(beams, "beams"), whole_number(max_tokens, "max_tokens")
    penalty = _checked_penalty(length_penalty)
    found: list[list[_Branch]] = [[_ROOT] for _ in range(sources)]
    searching = list(range(sources))  # those with running hypotheses, in the order of the decoder's rows
    log_probs = _without(step.start(), banned)
    for length in range(1, max_tokens + 1):
        running = [[branch for branch in found[source] if not branch.is_finished] for source in searching]
        bounds = [0, *accumulate(map(len, running))]
        rows = [branch for branches in running for branch in branches]
        candidates = core.best_continuations([branch.total for branch in rows], log_probs, bounds, beams)
        tokens: list[int] = []
        parents: list[int] = []
        still = []
        for source, best in zip(searching, candidates, strict=True):
            if best is None:
                raise FastGRUError(f"the network gives NaN for token {length} of what it writes")
            kept = list(_remaining(found[source], rows, best, beams, float(length) ** penalty, stop))
            found[source] = [branch for branch, _ in kept]
            goes_on = [(branch.token, row) for branch, row in kept if not branch.is_finished]
            tokens += [token for token, _ in goes_on]
            parents += [row for _, row in goes_on]
            if goes_on:
                still.append(source)
        searching = still
        if not searching or length == max_tokens:
            break
        log_probs = _without(step.step(np.array(tokens, np.int64), np.array(parents, np.int64)), banned)
    return [[_hypothesis(branch) for branch in branches] for branches in found]


def _without(log_probs: Array, banned: Collection[int]) -> Array:
    if not banned:
        return log_probs
    changed = log_probs.copy()
    changed[:, list(banned)] = -np.inf
    return changed


def _remaining(
    before: list[_Branch],
    rows: list[_Branch],
    best: list[tuple[float, int, int]],
    beams: int,
    length: float,
    stop: Collection[int],
) -> Iterator[tuple[_Branch, int]]:
    """The best of finished hypotheses and continuations, each with its parent's row (-1: finished before)."""
    places = {id(branch): place for place, branch in enumerate(before)}
    ranked: list[tuple[float, int, int, _Branch, int]] = [
        (-branch.score, place, -1, branch, -1) for place, branch in enumerate(before) if branch.is_finished
    ]
    for total, row, token in best:
        parent = rows[row]
        branch = _Branch(parent, token, total, total / length, token in stop)
        ranked.append((-branch.score, places[id(parent)], token, branch, row))
    ranked.sort(key=lambda entry: entry[:3])
    for _, _, _, branch, row in ranked[:beams]:
        yield branch, row


def _hypothesis(branch: _Branch) -> Hypothesis:
    return Hypothesis(branch.tokens(), None, branch.score, "stop" if branch.is_finished else "length")


def _checked_penalty(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < math.inf:
        raise BadInput(f"length_penalty should be a finite number, 0 or more, got {value!r}")
    return float(value)
